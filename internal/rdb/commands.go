package rdb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
)

// Marks in a file that are not types of values.
const (
	markSlotInfo    = 244
	markFunction    = 245
	markFunctionOld = 246
	markModuleAux   = 247
	markIdle        = 248
	markFreq        = 249
	markAux         = 250
	markResize      = 251
	markExpireMS    = 252
	markExpire      = 253
	markDatabase    = 254
	markEnd         = 255
)

// trailer is how many bytes can follow the end of a file: redis-cli also writes the mark with which the server ends
// it.
const trailer = 40

// Commands reads an RDB file and writes the commands that restore it to w, as clients send them. Each key replaces
// the key of its name, in the same database, and keeps its expiry. Commands returns the number of keys. After an
// error, w has received only a part.
func Commands(r io.Reader, w io.Writer) (keys int64, _ error) {
	f := &file{in: newReader(r), out: bufio.NewWriterSize(w, bufferSize)}
	if err := f.read(); err != nil {
		return f.keys, err
	}
	return f.keys, f.out.Flush()
}

// Check reads an RDB file as Commands does, and returns the error that Commands would return. It keeps no value, so
// it needs little memory however large the values are. data counts the keys and the libraries of functions.
func Check(r io.Reader) (data int64, _ error) {
	f := &file{in: newReader(r), out: bufio.NewWriter(io.Discard), value: payload{sizeOnly: true}}
	err := f.read()
	return f.keys + f.libraries, err
}

// file is an RDB file that is being read.
type file struct {
	in      *reader
	out     *bufio.Writer
	version int
	valkey  bool
	keys    int64
	// libraries counts those of functions.
	libraries int64
	value     payload
	next      attributes // attributes of the next key
}

// attributes stand before a key.
type attributes struct {
	expires    int64 // in milliseconds since 1970; 0 means never
	idle, freq []byte
}

// read reads the whole file, and writes its commands.
func (f *file) read() error {
	if err := f.header(); err != nil {
		return err
	}
	for {
		mark, err := f.in.byte()
		if err != nil {
			return err
		}
		if mark == markEnd {
			return f.end()
		}
		if err := f.entry(mark); err != nil {
			return err
		}
	}
}

// header reads the magic word and the version.
func (f *file) header() error {
	b, err := f.in.bytes(9)
	if err != nil {
		return err
	}
	magic, digits := b[:5], b[5:]
	if f.valkey = bytes.HasPrefix(b, []byte("VALKEY")); f.valkey {
		magic, digits = b[:6], b[6:]
	}
	if f.version, err = strconv.Atoi(string(digits)); err != nil || !f.valkey && string(magic) != "REDIS" ||
		f.version < 1 {
		return damagedError("its header is wrong")
	}
	return nil
}

// entry reads what follows a mark, and writes its command.
func (f *file) entry(mark byte) (err error) {
	r := f.in
	switch mark {
	case markDatabase:
		n, err := r.number()
		if err != nil {
			return err
		}
		return f.command("SELECT", strconv.AppendUint(nil, n, 10))
	case markExpireMS:
		n, err := r.fixed()
		f.next.expires = atLeastOne(int64(n))
		return err
	case markExpire:
		b, err := r.bytes(4)
		if err == nil {
			f.next.expires = atLeastOne(int64(int32(binary.LittleEndian.Uint32(b))) * 1000)
		}
		return err
	case markIdle:
		n, err := r.number()
		f.next.idle = strconv.AppendUint(nil, n, 10)
		return err
	case markFreq:
		n, err := r.byte()
		f.next.freq = strconv.AppendUint(nil, uint64(n), 10)
		return err
	case markResize:
		return r.numbers(2)
	case markSlotInfo:
		return r.numbers(3)
	case markAux:
		return f.aux()
	case markFunction:
		code, err := r.string()
		if err != nil {
			return err
		}
		f.libraries++
		return f.command("FUNCTION", []byte("LOAD"), []byte("REPLACE"), code)
	case markModuleAux:
		id, err := r.number()
		if err != nil {
			return err
		}
		return unsupportedError(
			"module %s keeps data outside of keys in the RDB file, which no command can restore", moduleName(id))
	}
	if mark >= 240 || mark == markFunctionOld {
		return unsupportedError("the RDB file, of version %d, has a part of kind %d, which this mover does not know",
			f.version, mark)
	}
	return f.key(mark)
}

// atLeastOne distinguishes a key that expired long ago from a key that never expires.
func atLeastOne(n int64) int64 { return max(n, 1) }

// aux reads a property of the file. One property is data: a script that clients call by its digest.
func (f *file) aux() error {
	name, err := f.in.string()
	if err != nil {
		return err
	}
	value, err := f.in.string()
	if err != nil || string(name) != "lua" {
		return err
	}
	return f.command("SCRIPT", []byte("LOAD"), value)
}

// key reads a key and its value.
func (f *file) key(kind byte) error {
	name, err := f.in.string()
	if err != nil {
		return err
	}
	if err := f.value.begin(kind); err != nil {
		return err
	}
	f.in.value = &f.value
	err = f.skipValue(kind)
	f.in.value = nil
	if err != nil {
		return err
	}
	if err := f.value.end(uint16(f.version)); err != nil {
		return err
	}
	f.keys++
	return f.restore(name)
}

// restore writes the command that restores a key.
func (f *file) restore(name []byte) error {
	options := [][]byte{[]byte("REPLACE"), []byte("ABSTTL")}
	switch {
	case f.next.idle != nil:
		options = append(options, []byte("IDLETIME"), f.next.idle)
	case f.next.freq != nil:
		options = append(options, []byte("FREQ"), f.next.freq)
	}
	fmt.Fprintf(f.out, "*%d\r\n", 4+len(options)) // a bufio.Writer returns its error again
	_ = f.argument([]byte("RESTORE"))
	_ = f.argument(name)
	_ = f.argument(strconv.AppendInt(nil, f.next.expires, 10))
	fmt.Fprintf(f.out, "$%d\r\n", f.value.size)
	if err := f.value.writeTo(f.out); err != nil {
		return err
	}
	_, err := f.out.WriteString("\r\n")
	for _, o := range options {
		err = f.argument(o)
	}
	f.next = attributes{}
	return err
}

// command writes one command.
func (f *file) command(name string, args ...[]byte) error {
	fmt.Fprintf(f.out, "*%d\r\n", 1+len(args))
	err := f.argument([]byte(name))
	for _, a := range args {
		err = f.argument(a)
	}
	return err
}

func (f *file) argument(b []byte) error {
	fmt.Fprintf(f.out, "$%d\r\n", len(b))
	_, _ = f.out.Write(b) // the next write returns the error again
	_, err := f.out.WriteString("\r\n")
	return err
}

// end compares the checksum, which a server can be configured not to write, and checks that nothing follows.
func (f *file) end() error {
	if f.version >= 5 {
		want := f.in.crc
		got, err := f.in.fixed()
		if err != nil {
			return err
		}
		if got != 0 && got != want {
			return damagedError("its checksum is wrong")
		}
	}
	rest, err := io.ReadAll(io.LimitReader(f.in.in, trailer+1))
	if err != nil {
		return err
	}
	if len(rest) > trailer {
		return damagedError("data follows its end")
	}
	return nil
}
