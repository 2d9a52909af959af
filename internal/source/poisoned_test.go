package source

import (
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/room"
	"github.com/cairn-backup/cairn/internal/testbed/peak"
	"github.com/cairn-backup/cairn/internal/testbed/poison"
)

// maxChain is more deltas than may lead to an object.
const maxChain = 251

// most is the most memory that a process takes for one poisoned pack, in bytes. The manager's limit leaves as much
// beside what it always needs.
const most = 300 << 20

// chains adds two chains of deltas in turns, so that no cache holds both.
func chains(p *poison.Pack, size int64, depth int) {
	var at [2]int64
	for i := range at {
		_, at[i] = p.Blob(strconv.Itoa(i)+strings.Repeat("x", 1<<10-1), int(size>>10))
	}
	for range depth {
		for i := range at {
			at[i] = p.Delta(at[i], size, "")
		}
	}
}

// TestPoisonedPacks fetches from a server that sends little, and means much.
func TestPoisonedPacks(t *testing.T) {
	for name, tt := range map[string]struct {
		fill         func(*poison.Pack)
		policy, says string // of a PolicySync and of a Ledger
	}{
		"a file of 700 MB": {func(p *poison.Pack) {
			id, _ := p.Blob(strings.Repeat("x", 1<<10), 700<<10)
			p.Commit(p.Tree("100644", "a", id, 1))
		}, "an object has 734003200 bytes", "an object has 734003200 bytes"},
		"a million and a half objects": {func(p *poison.Pack) {
			id, _ := p.Blob("", 0)
			p.Commit(p.Tree("100644", "a", id, 1))
			p.Same(1_500_000)
		}, "1500003 objects", "1500003 objects"},
		"chains of deltas": {func(p *poison.Pack) {
			id, _ := p.Blob("", 0)
			p.Commit(p.Tree("100644", "a", id, 1))
			chains(p, 40<<20, 12)
		}, "an object has 41943040 bytes", "an object has 41943040 bytes"},
		"chains of deltas within the size": {func(p *poison.Pack) {
			id, _ := p.Blob("", 0)
			p.Commit(p.Tree("100644", "a", id, 1))
			chains(p, 10<<20, maxChain)
		}, "all so far", "takes"},
		"a large directory": {func(p *poison.Pack) {
			id, _ := p.Blob("", 0)
			p.Commit(p.Tree("100644", "a", id, 1_500_000))
		}, "an object has 43500000 bytes", "an object has 43500000 bytes"},
		"a directory of 10 MiB": {func(p *poison.Pack) {
			id, _ := p.Blob("", 0)
			p.Commit(p.Tree("100644", "a", id, 330_000))
		}, "directory / has 9570000 bytes", "has 9570000 bytes, more than 8388608"},
	} {
		for _, ledger := range []bool{false, true} {
			who := "PolicySync"
			if ledger {
				who = "Ledger"
			}
			t.Run(name+" for a "+who, func(t *testing.T) {
				t.Parallel()
				NewWithT(t).Expect(peak.Of(t, func(t *testing.T) {
					t.Helper()
					g := NewWithT(t)
					p := poison.NewPack(t)
					tt.fill(p)
					url, auth := p.Server(t, "main"), Auth{Network: anywhere}
					if !ledger {
						_, err := Fetch(t.Context(), url, Ref{Branch: "main"}, auth, Revision{}, t.TempDir()+"/x",
							Limits{})
						g.Expect(err).To(MatchError(ErrTooLarge))
						g.Expect(err.Error()).To(ContainSubstring(tt.policy))
						return
					}
					s, err := gitstore.Open(gitstore.Options{
						Dir: t.TempDir() + "/x", URL: url, Branch: "main", Auth: auth,
					})
					g.Expect(err).NotTo(HaveOccurred())
					if err = s.Fetch(t.Context()); err == nil {
						_, err = s.List(t.Context(), "")
					}
					g.Expect(err).To(MatchError(gitstore.ErrTooLarge))
					g.Expect(err.Error()).To(ContainSubstring(tt.says))
					g.Expect(s.Close()).To(Succeed())
				})).To(BeNumerically("<", most), "bytes")
			})
		}
	}
}

// TestTheLargestPacks fetches what is just within the limits: it takes no more memory than the manager has.
func TestTheLargestPacks(t *testing.T) {
	for name, fill := range map[string]func(*poison.Pack){
		"as many objects as allowed": func(p *poison.Pack) { p.Same(499_000) },
		"the largest deltas":         func(p *poison.Pack) { chains(p, 10<<20, 20) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(peak.Of(t, func(t *testing.T) {
				t.Helper()
				g := NewWithT(t)
				p := poison.NewPack(t)
				id, _ := p.Blob("", 0)
				p.Commit(p.Tree("100644", "a", id, 1))
				fill(p)
				s, err := gitstore.Open(gitstore.Options{
					Dir: t.TempDir() + "/x", URL: p.Server(t, "main"), Branch: "main", Auth: Auth{Network: anywhere},
					Reserve: room.Take,
				})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(s.Fetch(t.Context())).To(Succeed())
				g.Expect(s.Close()).To(Succeed())
			})).To(BeNumerically("<", most), "bytes")
		})
	}
}
