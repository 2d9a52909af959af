package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	claims   int64 // the size of every pack, if the storage lies
}

func (s *packStore) GetMetadata(_ context.Context, id blob.ID) (blob.Metadata, error) {
	s.requests.Add(1)
	if s.claims != 0 {
		return blob.Metadata{BlobID: id, Length: s.claims}, nil
	}
	return blob.Metadata{BlobID: id, Length: int64(len(s.packs[id]))}, nil
}

func (s *packStore) GetBlob(_ context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	s.requests.Add(1)
	out.Reset()
	if off+n > int64(len(s.packs[id])) {
		return blob.ErrInvalidRange
	}
	if s.fail != nil {
		if err := s.fail(id, off, n); errors.Is(err, errShort) {
			n /= 2
		} else if err != nil {
			return err
		}
	}
	_, err := out.Write(s.packs[id][off : off+n])
	return err
}

func (*packStore) Close(context.Context) error { return nil }

// errShort makes a storage answer with half of a range, without an error.
var errShort = errors.New("short")

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
		"half of a range comes, without an error": func(_ blob.ID, _, n int64) error {
			if n > 1<<20 {
				return errShort
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

// TestAStorageThatLiesAboutSizes checks that the size that a storage claims takes no memory beyond a bound, and hides
// no content.
func TestAStorageThatLiesAboutSizes(t *testing.T) {
	const content = 1000
	data := make([]byte, 200*content)
	rand.New(rand.NewSource(1)).Read(data)
	for name, claims := range map[string]int64{
		"below zero": -1, "a byte": 1, "too short": content * 100, "too long": 64 << 20,
		"above the bound": 64<<20 + 1, "more than any machine has": 1 << 62, "the most": 1<<63 - 1,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var longest atomic.Int64
			store := &packStore{
				packs: map[blob.ID][]byte{"p1": data, "q2": data}, claims: claims,
				fail: func(_ blob.ID, _, n int64) error {
					for old := longest.Load(); n > old && !longest.CompareAndSwap(old, n); old = longest.Load() {
					}
					return nil
				},
			}
			read, end := kopia.ReadPacks(store)
			for _, id := range []blob.ID{"p1", "q2"} {
				for off := 0; off < len(data); off += content {
					var out buffer
					g.Expect(read(t.Context(), id, int64(off), content, &out)).To(Succeed())
					g.Expect(bytes.Equal(out.Bytes(), data[off:off+content])).To(BeTrue(), "at %d", off)
				}
			}
			end()
			if claims > 64<<20 {
				g.Expect(longest.Load()).To(BeEquivalentTo(content), "only what was asked for is read")
				g.Expect(store.requests.Load()).To(BeEquivalentTo(2*200+2), "the size is asked for once a pack")
			}
		})
	}
}

// TestPacksThatNobodyReadsOn checks that the packs of which a restore wants little do not pile up in memory while a
// slow storage sends the rest.
func TestPacksThatNobodyReadsOn(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	var mu sync.Mutex
	slow, goOn := map[blob.ID]bool{}, make(chan struct{})
	store := &packStore{packs: map[blob.ID][]byte{}, fail: func(id blob.ID, off, _ int64) error {
		if off == 0 || off == 100 {
			return nil
		}
		mu.Lock()
		slow[id] = true
		mu.Unlock()
		<-goOn
		return nil
	}}
	data := make([]byte, 20<<20)
	read, end := kopia.ReadPacks(store)
	for i := range 30 {
		id := blob.ID(fmt.Sprintf("p%d", i))
		store.packs[id] = data
	}
	for i := range 30 {
		for range 5 {
			var out buffer
			g.Expect(read(ctx, blob.ID(fmt.Sprintf("p%d", i)), 100, 100, &out)).To(Succeed())
		}
	}
	end()
	close(goOn)
	mu.Lock()
	defer mu.Unlock()
	g.Expect(len(slow)).To(And(BeNumerically(">=", 1), BeNumerically("<=", 8)))
}

// TestCloseWaitsForRangesOfPacks checks that no range of a pack is read from a storage that is closed.
func TestCloseWaitsForRangesOfPacks(t *testing.T) {
	g := NewWithT(t)
	asked, goOn := make(chan struct{}, 9), make(chan struct{})
	store := &packStore{packs: map[blob.ID][]byte{"p1": make([]byte, 20<<20)}}
	store.fail = func(_ blob.ID, off, n int64) error {
		if n > 100 && off > 0 {
			asked <- struct{}{}
			<-goOn
		}
		return nil
	}
	packs := kopia.NewPackReader(store)
	for range 3 {
		var out buffer
		g.Expect(packs.GetBlob(t.Context(), "p1", 0, 100, &out)).To(Succeed())
	}
	g.Eventually(asked).WithTimeout(time.Minute).Should(Receive(), "a range that nobody waits for")
	closed := make(chan error, 1)
	go func() { closed <- packs.Close(t.Context()) }()
	g.Consistently(closed).WithTimeout(100 * time.Millisecond).ShouldNot(Receive())
	close(goOn)
	g.Eventually(closed).WithTimeout(time.Minute).Should(Receive(BeNil()))
}
