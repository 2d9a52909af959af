package rdb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/rdb"
)

// dump is an RDB file of these parts.
func dump(header string, parts ...string) string {
	body := header + strings.Join(parts, "") + "\xff"
	return body + string(binary.LittleEndian.AppendUint64(nil, sum(body)))
}

// sum is the checksum of Redis: for "123456789" its source says e9c6d914c4b8d9ca.
func sum(s string) uint64 {
	return ^crc64.Update(^uint64(0), crc64.MakeTable(0x95ac9329ac4bc9b5), []byte(s))
}

func text(s string) string { return string([]byte{byte(len(s))}) + s }

func fixed(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

// payload is the argument of RESTORE for a value in a file of version 11.
func payload(kind byte, value string) string {
	b := string(kind) + value + "\x0b\x00"
	return b + fixed(sum(b))
}

// command is a command as clients send it.
func command(args ...string) string {
	var out bytes.Buffer
	out.WriteString("*" + strconv.Itoa(len(args)) + "\r\n")
	for _, a := range args {
		out.WriteString("$" + strconv.Itoa(len(a)) + "\r\n" + a + "\r\n")
	}
	return out.String()
}

func TestTheChecksumIsRedis(t *testing.T) {
	NewWithT(t).Expect(sum("123456789")).To(Equal(uint64(0xe9c6d914c4b8d9ca)))
}

func TestEachKeyIsRestoredAsItStands(t *testing.T) {
	stream1 := "\x01" + text("node") + text("listpack") + "\x05\x06\x07" + "\x01" + text("group") + "\x01\x02" +
		"\x01" + strings.Repeat("i", 16) + fixed(9) + "\x03" + "\x01" + text("reader") + fixed(8) + "\x01" +
		strings.Repeat("i", 16)
	stream3 := "\x01" + text("node") + text("listpack") + strings.Repeat("\x05", 8) + "\x01" + text("group") +
		"\x01\x02\x03" +
		"\x01" + strings.Repeat("i", 16) + fixed(9) + "\x03" + "\x01" + text("reader") + fixed(8) + fixed(7) + "\x01" +
		strings.Repeat("i", 16)
	producers := "\x40\x64\x40\x64" + "\x02" + text("producer") + "\x02" + text("first") + "\x81" + fixed(1) + "\x02" +
		text("second") + "\x03\x04" + text("idle") + "\x00" + "\x07\x01"
	for name, tc := range map[string]struct {
		kind  byte
		value string
	}{
		"a string":                         {0, text("value")},
		"a string with a long length":      {0, "\x40\x05value"},
		"a string with a length of 32 bit": {0, "\x80\x00\x00\x00\x05value"},
		"a string with a length of 64 bit": {0, "\x81\x00\x00\x00\x00\x00\x00\x00\x05value"},
		"a small number":                   {0, "\xc0\x2a"},
		"a number of 16 bit":               {0, "\xc1\x2a\x01"},
		"a number of 32 bit":               {0, "\xc2\x2a\x01\x01\x01"},
		"a compressed string":              {0, "\xc3\x05\x0a\x00a\xe0\x00\x00"},
		"any bytes":                        {0, text("\x00\r\n\xff$")},
		"a list":                           {1, "\x02" + text("a") + "\xc0\x2a"},
		"a set":                            {2, "\x02" + text("a") + text("b")},
		"a sorted set of old": {
			3, "\x03" + text("a") + "\x031.5" + text("b") + "\xfe" + text("c") + "\xfd",
		},
		"a hash":       {4, "\x01" + text("field") + text("value")},
		"a sorted set": {5, "\x02" + text("a") + fixed(1) + text("b") + fixed(2)},
		"a module's value": {7, "\x81abcdefgh" + "\x01\x05\x02\x06\x03ffff\x04dddddddd\x05" + text("s") +
			"\x00"},
		"a zipmap":                 {9, text("zm")},
		"a ziplist":                {10, text("zl")},
		"an intset":                {11, text("is")},
		"a quicklist":              {14, "\x02" + text("zl") + text("zl")},
		"a stream of version 5":    {15, stream1},
		"a packed hash":            {16, text("lp")},
		"a packed sorted set":      {17, text("lp")},
		"a quicklist of version 7": {18, "\x02\x01" + text("plain") + "\x02" + text("packed")},
		"a packed set":             {20, text("lp")},
		"a stream of version 7.2":  {21, stream3},
		"a stream of Redis 8.6":    {26, stream3 + producers},
		"a stream of Redis 8.6 without groups": {
			26, "\x00" + strings.Repeat("\x05", 8) + "\x00" + "\x40\x64\x40\x64\x00\x00\x00",
		},
		"a stream of Redis 8.8":                {27, stream3 + "\x02" + strings.Repeat("i", 32) + producers},
		"a stream of Redis 8.8, none returned": {27, stream3 + "\x00" + producers},
		"a hash with fields that expire": {24, fixed(1) + "\x02" + "\x00" + text("f") + text("v") + "\x05" + text("g") +
			text("w")},
		"a packed hash with such fields": {25, fixed(1) + text("lp")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			file := dump("REDIS0011", "\xfa"+text("redis-ver")+text("7.2.0"), "\xfe\x00\xfb\x02\x00",
				string(tc.kind)+text("key")+tc.value, "\x00"+text("after")+text("it"))
			var out bytes.Buffer
			keys, err := rdb.Commands(iotest.OneByteReader(strings.NewReader(file)), &out)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(keys).To(BeEquivalentTo(2))
			g.Expect(out.String()).To(Equal(command("SELECT", "0") +
				command("RESTORE", "key", "0", payload(tc.kind, tc.value), "REPLACE", "ABSTTL") +
				command("RESTORE", "after", "0", payload(0, text("it")), "REPLACE", "ABSTTL")))
			keys, err = rdb.Check(strings.NewReader(file))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(keys).To(BeEquivalentTo(2))
			for cut := range len(file) {
				_, err := rdb.Commands(strings.NewReader(file[:cut]), io.Discard)
				g.Expect(err).To(BeAssignableToTypeOf(&rdb.Error{}), "cut at %d", cut)
			}
		})
	}
}

func TestWhatIsNoKeyComesBackToo(t *testing.T) {
	value := text("v")
	restored := func(args ...string) string {
		return command(append([]string{"RESTORE", "k", args[0], payload(0, value), "REPLACE", "ABSTTL"},
			args[1:]...)...)
	}
	key := "\x00" + text("k") + value
	for name, tc := range map[string]struct{ part, want string }{
		"an expiry in milliseconds":  {"\xfc" + fixed(1893456000123) + key, restored("1893456000123")},
		"an expiry in seconds":       {"\xfd\x00\x36\xda\x70" + key, restored("1893348864000")},
		"an expiry before 1970":      {"\xfc" + fixed(^uint64(0)) + key, restored("1")},
		"an expiry of one key alone": {"\xfc" + fixed(5) + key + key, restored("5") + restored("0")},
		"an idle time":               {"\xf8\x40\x64" + key, restored("0", "IDLETIME", "100")},
		"a frequency":                {"\xf9\x05" + key, restored("0", "FREQ", "5")},
		"another database": {"\xfe\x0f" + key + "\xfe\x40\x64" + key, command("SELECT", "15") +
			restored("0") + command("SELECT", "100") + restored("0")},
		"a function": {
			"\xf5" + text("#!lua name=f\n"),
			command("FUNCTION", "LOAD", "REPLACE", "#!lua name=f\n"),
		},
		"a script":           {"\xfa" + text("lua") + text("return 1"), command("SCRIPT", "LOAD", "return 1")},
		"a property":         {"\xfa" + text("used-mem") + "\xc2\x01\x02\x03\x04", ""},
		"the size of a slot": {"\xf4\x01\x02\x03" + key, restored("0")},
		"a key that is a number": {
			"\x00\xc0\xff" + value,
			command("RESTORE", "-1", "0", payload(0, value), "REPLACE", "ABSTTL"),
		},
		"a key that is a number of 32 bit": {
			"\x00\xc2\x00\x00\x00\x80" + value,
			command("RESTORE", "-2147483648", "0", payload(0, value), "REPLACE", "ABSTTL"),
		},
		"a key that is compressed": {
			"\x00\xc3\x05\x0a\x00a\xe0\x00\x00" + value,
			command("RESTORE", "aaaaaaaaaa", "0", payload(0, value), "REPLACE", "ABSTTL"),
		},
		"nothing": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, trailer := range []string{"", strings.Repeat("m", 40)} {
				var out bytes.Buffer
				_, err := rdb.Commands(strings.NewReader(dump("REDIS0011", tc.part)+trailer), &out)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(out.String()).To(Equal(tc.want))
			}
		})
	}
}

func TestWhatNoCommandRestoresIsAnError(t *testing.T) {
	key := "\x00" + text("k") + text("v")
	whole := dump("REDIS0011", key)
	for name, tc := range map[string]struct{ file, says string }{
		"a module's data outside of keys": {
			dump("REDIS0011", "\xf7\x81"+"\x83\x48\xd3\x2c\xb7\x4a\x39\x00"+"\x02\x01\x00"),
			"keeps data outside of keys",
		},
		"a function of a release candidate": {
			dump("REDIS0010", "\xf6"+text("x")),
			"the RDB file, of version 10, has a part of kind 246",
		},
		"a mark of tomorrow": {dump("REDIS0013", "\xf3\x01"), "a part of kind 243"},
		"a type of tomorrow": {dump("REDIS0013", "\x1c"+text("k")+text("v")), "a value of type 28"},
		"a hash of a release candidate": {
			dump("REDIS0012", "\x16"+text("k")+"\x01\x00"+text("f")+text("v")),
			"a value of type 22",
		},
		"a module's value of a release candidate": {dump("REDIS0008", "\x06"+text("k")+"\x00"), "a value of type 6"},
		"another family's type": {
			dump("VALKEY080", "\x18"+text("k")+fixed(0)+"\x00"),
			"a value of type 24",
		},
		"another family's stream": {dump("VALKEY080", "\x1a"+text("k")+"\x00"), "a value of type 26"},
		"a wrong checksum":        {whole[:len(whole)-1] + "x", "its checksum is wrong"},
		"something after the end": {whole + strings.Repeat("x", 41), "data follows its end"},
		"another file":            {"-- PostgreSQL database dump\n", "its header is wrong"},
		"another version":         {"REDISabcd", "its header is wrong"},
		"nothing":                 {"", "it ends too early"},
		"a value that is too large": {
			dump("REDIS0011", "\x00"+text("k")+"\x81\x00\x00\x00\x01\x00\x00\x00\x00v"), "it ends too early",
		},
		"a key that is too large": {
			dump("REDIS0011", "\x00\x81\x00\x00\x00\x01\x00\x00\x00\x00k"),
			"a value of more than 512 MiB",
		},
		"a compressed key that is not": {dump("REDIS0011", "\x00\xc3\x02\x0a\xe0\x00"), "can't be unpacked"},
		"a compressed key that is too long": {
			dump("REDIS0011", "\x00\xc3\x05\x09\x00a\xe0\x00\x00"+text("v")),
			"can't be unpacked",
		},
		"a compressed key that is too short": {
			dump("REDIS0011", "\x00\xc3\x05\x0b\x00a\xe0\x00\x00"+text("v")),
			"can't be unpacked",
		},
		"an invalid length":                 {dump("REDIS0011", "\x00\x82"), "a length begins with 0x82"},
		"a string with an invalid encoding": {dump("REDIS0011", "\x00\xc4"), "a string has the encoding 4"},
		"a value with an invalid encoding": {
			dump("REDIS0011", "\x00"+text("k")+"\xc4"),
			"a string has the encoding 4",
		},
		"a module's value with an invalid part": {dump("REDIS0011", "\x07"+text("k")+"\x01\x06"), "a part of kind 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			_, err := rdb.Commands(strings.NewReader(tc.file), io.Discard)
			g.Expect(err).To(BeAssignableToTypeOf(&rdb.Error{}))
			g.Expect(err).To(MatchError(ContainSubstring(tc.says)))
			_, checked := rdb.Check(strings.NewReader(tc.file))
			g.Expect(checked).To(Equal(err))
			damaged := strings.HasPrefix(err.Error(), "the RDB file is damaged: ")
			g.Expect(err).To(HaveField("Unsupported", !damaged), "another dump can be well")
		})
	}
}

func TestAFileWithoutAChecksumIsTaken(t *testing.T) {
	g := NewWithT(t)
	whole := dump("REDIS0011", "\x00"+text("k")+text("v"))
	_, err := rdb.Commands(strings.NewReader(whole[:len(whole)-8]+fixed(0)), io.Discard)
	g.Expect(err).NotTo(HaveOccurred(), "rdbchecksum no")
	old := dump("REDIS0004", "\x00"+text("k")+text("v"))
	_, err = rdb.Commands(strings.NewReader(old[:len(old)-8]), io.Discard)
	g.Expect(err).NotTo(HaveOccurred(), "before version 5")
}

func TestValkeyIsRead(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	keys, err := rdb.Commands(
		strings.NewReader(dump("VALKEY080", "\x16"+text("k")+"\x01"+text("f")+text("v")+fixed(7))),
		&out)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(keys).To(BeEquivalentTo(1))
	g.Expect(out.String()).To(ContainSubstring(text("f") + text("v") + fixed(7) + "\x50\x00"))
}

// TestReadAndWriteErrorsStayAsTheyAre: errors of reading or writing are not taken for a damaged file.
func TestReadAndWriteErrorsStayAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	away := errors.New("the storage is away")
	file := dump("REDIS0011", "\x00"+text("k")+text("v"))
	for n := range len(file) {
		_, err := rdb.Commands(io.MultiReader(strings.NewReader(file[:n]), iotest.ErrReader(away)), io.Discard)
		g.Expect(err).To(MatchError(away), "after %d bytes", n)
	}
	_, err := rdb.Commands(strings.NewReader(file), brokenPipe{away})
	g.Expect(err).To(MatchError(away))
	large := dump("REDIS0011", "\x00"+text("k")+"\x80\x00\x40\x00\x00"+strings.Repeat("x", 4<<20))
	_, err = rdb.Commands(strings.NewReader(large), brokenPipe{away})
	g.Expect(err).To(MatchError(away))
}

type brokenPipe struct{ err error }

func (b brokenPipe) Write([]byte) (int, error) { return 0, b.err }

// large is an RDB file with one value of this size, without its checksum.
func large(size uint32) io.Reader {
	return io.MultiReader(
		strings.NewReader("REDIS0011\x00"+text("k")+"\x80"+string(binary.BigEndian.AppendUint32(nil, size))),
		io.LimitReader(endless{}, int64(size)),
		strings.NewReader("\xff"+fixed(0)),
	)
}

// endless is an endless value.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestACheckKeepsNoValue(t *testing.T) {
	g := NewWithT(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	keys, err := rdb.Check(large(200 << 20))
	runtime.ReadMemStats(&after)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(keys).To(BeEquivalentTo(1))
	g.Expect(after.TotalAlloc-before.TotalAlloc).To(BeNumerically("<", 16<<20), "all that was allocated meanwhile")
}

// A value that is too large for a restore is too large for a check: by a byte, as type, version and checksum count.
func TestACheckHasTheLimitsOfARestore(t *testing.T) {
	g := NewWithT(t)
	const most = 512<<20 - 1 - 5 - 10
	_, err := rdb.Check(large(most))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = rdb.Check(large(most + 1))
	g.Expect(err).To(MatchError(ContainSubstring("redis-cli --memkeys finds")))
	g.Expect(err).To(HaveField("Unsupported", true))
}

func BenchmarkCheck(b *testing.B) {
	const size = 64 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rdb.Check(large(size)); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzCommands looks for files that cause a panic, or that allocate memory for missing data.
func FuzzCommands(f *testing.F) {
	f.Add(
		[]byte(dump("REDIS0011", "\xfe\x01", "\xfc"+fixed(9)+"\x12"+text("k")+"\x02\x01"+text("plain")+"\x02"+
			text("packed"))))
	f.Add([]byte(dump("VALKEY080", "\x16"+text("k")+"\x01"+text("f")+text("v")+fixed(7))))
	f.Add([]byte(dump("REDIS0011", "\x00\xc3\x05\x0a\x00a\xe0\x00\x00"+text("v"))))
	f.Add([]byte(dump("REDIS0011", "\x07"+text("k")+"\x01\x05"+text("s")+"\x00")))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, err := rdb.Commands(bytes.NewReader(file), io.Discard)
		if err != nil && !errors.As(err, new(*rdb.Error)) {
			t.Errorf("%v", err)
		}
		if _, checked := rdb.Check(bytes.NewReader(file)); fmt.Sprint(checked) != fmt.Sprint(err) {
			t.Errorf("a check says %v, a restore %v", checked, err)
		}
	})
}
