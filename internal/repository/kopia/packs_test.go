package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// TestPartBuffer checks that a part is complete whether it is written or read, also after a failed attempt, and
// that more data than was asked for is an error.
func TestPartBuffer(t *testing.T) {
	g := NewWithT(t)
	data := make([]byte, 300<<10+1)
	rand.New(rand.NewSource(1)).Read(data)
	for name, hide := range map[string]func(io.Writer) io.Writer{
		"by ReadFrom": func(w io.Writer) io.Writer { return w },
		"by Write":    func(w io.Writer) io.Writer { return struct{ io.Writer }{w} },
	} {
		room := make([]byte, len(data))
		b := kopia.NewPartBuffer(room)
		g.Expect(b.Write([]byte("left from an attempt before"))).NotTo(BeZero())
		b.Reset()
		g.Expect(io.Copy(hide(b), struct{ io.Reader }{bytes.NewReader(data)})).To(BeEquivalentTo(len(data)), name)
		g.Expect(b.Length()).To(Equal(len(data)))
		g.Expect(bytes.Equal(room, data)).To(BeTrue(), name)

		b = kopia.NewPartBuffer(make([]byte, len(data)-1))
		_, err := io.Copy(hide(b), struct{ io.Reader }{bytes.NewReader(data)})
		g.Expect(err).To(MatchError(io.ErrShortBuffer), name)
		g.Expect(b.Length()).To(Equal(len(data)-1), name)
	}
}

// packStore holds blobs in memory and counts the requests.
type packStore struct {
	blob.Storage
	packs    map[blob.ID][]byte
	requests atomic.Int64
	fail     func(id blob.ID, off, n int64) error
}

func (s *packStore) GetMetadata(_ context.Context, id blob.ID) (blob.Metadata, error) {
	s.requests.Add(1)
	return blob.Metadata{BlobID: id, Length: int64(len(s.packs[id]))}, nil
}

func (s *packStore) GetBlob(_ context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	s.requests.Add(1)
	if s.fail != nil {
		if err := s.fail(id, off, n); err != nil {
			return err
		}
	}
	out.Reset()
	if off+n > int64(len(s.packs[id])) {
		return blob.ErrInvalidRange
	}
	_, err := out.Write(s.packs[id][off : off+n])
	return err
}

type buffer struct{ bytes.Buffer }

func (b *buffer) Length() int { return b.Len() }

// TestPacks reads every content of some packs in several goroutines, in the order of a restore. Each content must
// be as it was stored, also where ranges of a pack cannot be read, and most must cost no request.
func TestPacks(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func(blob.ID, int64, int64) error{
		"all is well": nil,
		"no range but the first of a pack comes": func(_ blob.ID, off, n int64) error {
			if n > 1<<20 && off > 0 {
				return broken
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			store := &packStore{packs: map[blob.ID][]byte{}, fail: fail}
			random := rand.New(rand.NewSource(1))
			for _, id := range []blob.ID{"p1", "p2", "q3", "p4", "p5", "p6", "p7"} {
				data := make([]byte, 17<<20+random.Intn(7<<20))
				random.Read(data)
				store.packs[id] = data
			}
			read, end := kopia.ReadPacks(store)
			const content = 100 << 10
			var contents, wrong atomic.Int64
			for _, id := range []blob.ID{"p1", "p2", "q3", "p4", "p5", "p6", "p7"} {
				data := store.packs[id]
				var next atomic.Int64
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for {
							off := next.Add(content) - content
							if off >= int64(len(data)) {
								return
							}
							n := min(content, int64(len(data))-off)
							var out buffer
							contents.Add(1)
							if err := read(t.Context(), id, off, n, &out); err != nil ||
								!bytes.Equal(out.Bytes(), data[off:off+n]) {
								wrong.Add(1)
							}
						}
					})
				}
				wg.Wait()
			}
			end()
			g.Expect(wrong.Load()).To(BeZero())
			if fail == nil {
				g.Expect(store.requests.Load()).To(BeNumerically("<", contents.Load()/10))
			}
			var out buffer
			g.Expect(read(t.Context(), "p1", 30<<20, 10, &out)).NotTo(Succeed(), "past the end of a pack")
		})
	}
}
