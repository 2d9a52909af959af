package peers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// words that the text of files is made of. With their frequencies below it compresses to about two fifths, as source
// code and documents do.
var words = func() []string {
	random := rand.New(rand.NewPCG(1, 1))
	out := make([]string, 4000)
	for i := range out {
		word := make([]byte, 2+random.IntN(9))
		for j := range word {
			word[j] = byte('a' + random.IntN(26))
		}
		out[i] = string(word) + " "
	}
	return out
}()

// text writes about size bytes of it.
func text(random *rand.Rand, out *bytes.Buffer, size int) {
	for out.Len() < size {
		out.WriteString(words[int(math.Pow(random.Float64(), 3)*float64(len(words)))])
		if random.IntN(12) == 0 {
			out.WriteByte('\n')
		}
	}
	out.Truncate(size)
}

// meanFile is the mean size of a file of a mixed tree.
const meanFile = 26 << 10

// mixed makes a tree as volumes of applications are: files of very different sizes around meanFile, nine to a
// directory, four fifths of them text and the others compressed already.
func mixed(b testing.TB, dir string, files int) {
	b.Helper()
	random := rand.New(rand.NewPCG(7, uint64(files)))
	var content bytes.Buffer
	for i := range files {
		content.Reset()
		size := int(math.Exp(random.NormFloat64()*1.6) * meanFile / math.Exp(1.6*1.6/2))
		if size = min(size, 64<<20); i%5 == 4 {
			noise(random, &content, size)
		} else {
			text(random, &content, size)
		}
		sub := filepath.Join(dir, fmt.Sprint("d", i/900), fmt.Sprint("e", i/90%10), fmt.Sprint("f", i/9%10))
		if i%9 == 0 {
			must(b, os.MkdirAll(sub, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(sub, fmt.Sprint("file", i)), content.Bytes(), 0o644))
	}
}

// noise writes size bytes that nothing compresses.
func noise(random *rand.Rand, out *bytes.Buffer, size int) {
	var eight [8]byte
	for out.Len() < size {
		binary.LittleEndian.PutUint64(eight[:], random.Uint64())
		out.Write(eight[:])
	}
	out.Truncate(size)
}

// change appends a line to one file of a hundred, in each round to others.
func change(b testing.TB, dir string, files, round int) {
	b.Helper()
	for i := round % 100; i < files; i += 100 {
		name := filepath.Join(dir, fmt.Sprint("d", i/900), fmt.Sprint("e", i/90%10), fmt.Sprint("f", i/9%10),
			fmt.Sprint("file", i))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		must(b, err)
		_, err = fmt.Fprintln(f, "changed in round", round)
		must(b, err)
		must(b, f.Close())
	}
}

// tiny makes files of 70 bytes, a thousand to a directory.
func tiny(b testing.TB, dir string, files int) {
	b.Helper()
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprint("d", i/1_000_000), fmt.Sprint("e", i/1000))
		if i%1000 == 0 {
			must(b, os.MkdirAll(sub, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(sub, fmt.Sprint("file", i)), fmt.Appendf(nil, "%070d", i), 0o644))
	}
}

// big makes one file that nothing compresses.
func big(b testing.TB, dir string, size int64) {
	b.Helper()
	must(b, os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, "big"))
	must(b, err)
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
	must(b, err)
	must(b, f.Close())
}
