package rdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"strconv"
)

// jones is the polynomial of Redis' checksums, reflected.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// checksum continues from crc. Redis, unlike package crc64, inverts it neither at the beginning nor at the end.
func checksum(crc uint64, b []byte) uint64 { return ^crc64.Update(^crc, jones, b) }

// Error says which part of an RDB file can't be turned into commands. Errors of reading and writing are not of this
// type.
type Error struct {
	// Message says what is wrong. It names no key.
	Message string
	// Unsupported means that the file is well as far as it was read: another dump of the same data fails, too.
	Unsupported bool
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// unsupportedError returns the Error of a file with data that can't be turned into commands.
func unsupportedError(format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...), Unsupported: true}
}

// damagedError returns the Error of a file that is damaged or no RDB file.
func damagedError(format string, args ...any) error {
	return &Error{Message: "the RDB file is damaged: " + fmt.Sprintf(format, args...)}
}

// reader reads an RDB file, computes its checksum and, while value is set, keeps what it reads.
type reader struct {
	in    *bufio.Reader
	crc   uint64
	value *payload // nil means that nothing is kept
}

// bufferSize is how many bytes of the file are buffered.
const bufferSize = 1 << 20

func newReader(r io.Reader) *reader { return &reader{in: bufio.NewReaderSize(r, bufferSize)} }

// pass reads n bytes and passes them to see piece by piece. see can be nil.
func (r *reader) pass(n uint64, see func([]byte)) error {
	for n > 0 {
		if r.in.Buffered() == 0 {
			if _, err := r.in.Peek(1); err != nil {
				return early(err)
			}
		}
		b, err := r.in.Peek(int(min(n, uint64(r.in.Buffered()))))
		if err != nil {
			return early(err)
		}
		r.crc = checksum(r.crc, b)
		if r.value != nil {
			if err := r.value.add(b); err != nil {
				return err
			}
		}
		if see != nil {
			see(b)
		}
		if _, err := r.in.Discard(len(b)); err != nil {
			return early(err)
		}
		n -= uint64(len(b))
	}
	return nil
}

// early turns the early end of a file into an Error. Other errors of reading stay.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return damagedError("it ends too early")
	}
	return err
}

func (r *reader) skip(n uint64) error { return r.pass(n, nil) }

// bytes reads n bytes, which are not part of a value.
func (r *reader) bytes(n uint64) ([]byte, error) {
	if n > maxValue {
		return nil, tooLarge()
	}
	out := make([]byte, 0, min(n, bufferSize)) // a damaged length must not allocate memory for missing data
	err := r.pass(n, func(b []byte) { out = append(out, b...) })
	return out, err
}

func (r *reader) byte() (byte, error) {
	var out byte
	err := r.pass(1, func(b []byte) { out = b[0] })
	return out, err
}

// fixed reads a number of 8 bytes, lowest first.
func (r *reader) fixed() (uint64, error) {
	b, err := r.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// Special encodings of a string.
const (
	int8Encoding = iota
	int16Encoding
	int32Encoding
	lzfEncoding
)

// length reads a length, or the number of a special encoding.
func (r *reader) length() (n uint64, special bool, _ error) {
	first, err := r.byte()
	if err != nil {
		return 0, false, err
	}
	switch {
	case first>>6 == 0:
		return uint64(first), false, nil
	case first>>6 == 1:
		second, err := r.byte()
		return uint64(first&0x3f)<<8 | uint64(second), false, err
	case first == 0x80:
		b, err := r.bytes(4)
		if err != nil {
			return 0, false, err
		}
		return uint64(binary.BigEndian.Uint32(b)), false, nil
	case first == 0x81:
		b, err := r.bytes(8)
		if err != nil {
			return 0, false, err
		}
		return binary.BigEndian.Uint64(b), false, nil
	case first>>6 == 3:
		return uint64(first & 0x3f), true, nil
	}
	return 0, false, damagedError("a length begins with %#x", first)
}

// number reads a length that must not be a special encoding.
func (r *reader) number() (uint64, error) {
	n, special, err := r.length()
	if err == nil && special {
		err = damagedError("a number has the encoding of a string")
	}
	return n, err
}

// numbers reads n numbers and drops them.
func (r *reader) numbers(n int) error {
	for range n {
		if _, err := r.number(); err != nil {
			return err
		}
	}
	return nil
}

// skipString reads a string and drops it.
func (r *reader) skipString() error {
	n, special, err := r.length()
	switch {
	case err != nil:
		return err
	case !special:
		return r.skip(n)
	case n <= int32Encoding:
		return r.skip(1 << n)
	case n == lzfEncoding:
		packed, err := r.number()
		if err != nil {
			return err
		}
		if _, err := r.number(); err != nil {
			return err
		}
		return r.skip(packed)
	}
	return damagedError("a string has the encoding %d", n)
}

// string reads a string, such as a key.
func (r *reader) string() ([]byte, error) {
	n, special, err := r.length()
	switch {
	case err != nil:
		return nil, err
	case !special:
		return r.bytes(n)
	case n <= int32Encoding:
		b, err := r.bytes(1 << n)
		if err != nil {
			return nil, err
		}
		return strconv.AppendInt(nil, integer(b), 10), nil
	case n == lzfEncoding:
		packed, err := r.number()
		if err != nil {
			return nil, err
		}
		size, err := r.number()
		if err != nil {
			return nil, err
		}
		b, err := r.bytes(packed)
		if err != nil {
			return nil, err
		}
		return unpack(b, size)
	}
	return nil, damagedError("a string has the encoding %d", n)
}

// integer decodes a signed number of 1, 2 or 4 bytes, lowest first.
func integer(b []byte) int64 {
	switch len(b) {
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	default:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
}
