// Package poison makes what an attacker sends to let a process grow: packs of Git, and a server that sends them. What
// it makes is small; what comes out of it is not.
package poison

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"testing"

	. "github.com/onsi/gomega"
)

// Types of objects in a pack.
const (
	commitType = 1
	treeType   = 2
	blobType   = 3
	ofsDelta   = 6
)

// Pack writes a pack to a file, object by object.
type Pack struct {
	g    *WithT
	file *os.File
	out  *bufio.Writer
	at   int64
	n    uint32
	tip  string
}

// NewPack returns an empty pack in a directory of the test.
func NewPack(t testing.TB) *Pack {
	t.Helper()
	g := NewWithT(t)
	f, err := os.CreateTemp(t.TempDir(), "pack")
	g.Expect(err).NotTo(HaveOccurred())
	p := &Pack{g: g, file: f, out: bufio.NewWriter(f)}
	p.write([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00"))
	return p
}

func (p *Pack) write(b []byte) {
	n, err := p.out.Write(b)
	p.g.Expect(err).NotTo(HaveOccurred())
	p.at += int64(n)
}

// begin writes the header of an object, and returns where the object is.
func (p *Pack) begin(kind byte, size int64) int64 {
	at := p.at
	p.n++
	first := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		p.write([]byte{first | 0x80})
		first = byte(size & 127)
	}
	p.write([]byte{first})
	return at
}

type counter struct{ p *Pack }

func (c counter) Write(b []byte) (int, error) {
	c.p.write(b)
	return len(b), nil
}

// object writes an object that has the text n times, and returns its hash and where it is.
func (p *Pack) object(kind byte, name, text string, n int) (id string, at int64) {
	size := int64(len(text)) * int64(n)
	at = p.begin(kind, size)
	z, err := zlib.NewWriterLevel(counter{p}, zlib.BestCompression)
	p.g.Expect(err).NotTo(HaveOccurred())
	sum := sha1.New()
	_, _ = fmt.Fprintf(sum, "%s %d\x00", name, size)
	both := io.MultiWriter(z, sum)
	for range n {
		_, err := io.WriteString(both, text)
		p.g.Expect(err).NotTo(HaveOccurred())
	}
	p.g.Expect(z.Close()).To(Succeed())
	return sumOf(sum), at
}

func sumOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Blob adds a file that has the text n times. It returns its hash, and where it is.
func (p *Pack) Blob(text string, n int) (id string, at int64) {
	return p.object(blobType, "blob", text, n)
}

// Same adds the same small file n times more.
func (p *Pack) Same(n int) {
	var one bytes.Buffer
	z := zlib.NewWriter(&one)
	p.g.Expect(z.Close()).To(Succeed())
	for range n {
		p.begin(blobType, 0)
		p.write(one.Bytes())
	}
}

// Tree adds a directory that has the entry n times, and returns its hash.
func (p *Pack) Tree(mode, name, id string, n int) string {
	raw, err := hex.DecodeString(id)
	p.g.Expect(err).NotTo(HaveOccurred())
	tree, _ := p.object(treeType, "tree", mode+" "+name+"\x00"+string(raw), n)
	return tree
}

// Nested adds a directory with another one, and then the entry n times, and returns its hash.
func (p *Pack) Nested(dir, mode, name, id string, n int) string {
	var raw [2][]byte
	for i, h := range []string{dir, id} {
		b, err := hex.DecodeString(h)
		p.g.Expect(err).NotTo(HaveOccurred())
		raw[i] = b
	}
	text := "40000 d\x00" + string(raw[0])
	for range n {
		text += mode + " " + name + "\x00" + string(raw[1])
	}
	tree, _ := p.object(treeType, "tree", text, 1)
	return tree
}

// Commit adds a commit of a directory, and makes it the tip of the branch.
func (p *Pack) Commit(tree string) {
	p.tip, _ = p.object(commitType, "commit",
		"tree "+tree+"\nauthor a <a@a> 1 +0000\ncommitter a <a@a> 1 +0000\n\npoison\n", 1)
}

// Delta adds an object that is the object at base, which has size bytes, once more, and returns where it is. padding is
// what the delta adds at the end.
func (p *Pack) Delta(base, size int64, padding string) int64 {
	var delta []byte
	target := size + int64(len(padding))
	delta = binary.AppendUvarint(delta, uint64(size))
	delta = binary.AppendUvarint(delta, uint64(target))
	for off := int64(0); off < size; { // copies of at most 16 MiB - 1
		n := min(size-off, 0xffffff)
		delta = append(delta, 0xff, byte(off), byte(off>>8), byte(off>>16), byte(off>>24))
		delta = append(delta, byte(n), byte(n>>8), byte(n>>16))
		off += n
	}
	for rest := padding; rest != ""; {
		n := min(len(rest), 127)
		delta = append(append(delta, byte(n)), rest[:n]...)
		rest = rest[n:]
	}
	at := p.begin(ofsDelta, int64(len(delta)))
	// the distance to the base, in the encoding of Git
	distance := at - base
	raw := []byte{byte(distance & 127)}
	for distance >>= 7; distance > 0; distance >>= 7 {
		distance--
		raw = append([]byte{0x80 | byte(distance&127)}, raw...)
	}
	p.write(raw)
	z := zlib.NewWriter(counter{p})
	_, err := z.Write(delta)
	p.g.Expect(err).NotTo(HaveOccurred())
	p.g.Expect(z.Close()).To(Succeed())
	return at
}

// finish writes the number of objects and the sum, and returns the file.
func (p *Pack) finish() *os.File {
	p.g.Expect(p.out.Flush()).To(Succeed())
	_, err := p.file.WriteAt(binary.BigEndian.AppendUint32(nil, p.n), 8)
	p.g.Expect(err).NotTo(HaveOccurred())
	_, err = p.file.Seek(0, io.SeekStart)
	p.g.Expect(err).NotTo(HaveOccurred())
	sum := sha1.New()
	_, err = io.Copy(sum, p.file)
	p.g.Expect(err).NotTo(HaveOccurred())
	_, err = p.file.Write(sum.Sum(nil))
	p.g.Expect(err).NotTo(HaveOccurred())
	return p.file
}
