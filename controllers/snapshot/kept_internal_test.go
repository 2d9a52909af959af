package snapshot

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
)

// A Snapshot that goes with its kind is deleted after the kind. An answer from before that must not wipe its data.
func TestTheAnswerThatTheKindStaysHoldsForWhatWasDeletedBefore(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var k kindStays
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	cached, asked := []types.UID{"a", "b"}, 0
	var kindGoes bool
	var fails error
	goes := func(uid types.UID) (bool, error) {
		return k.goes(now, uid, func() ([]types.UID, error) { return cached, nil }, func() (bool, error) {
			cached = []types.UID{"a", "b", "c", "d"} // others are deleted while the API server answers
			asked++
			return kindGoes, fails
		})
	}
	stays := func(uid types.UID, questions int) {
		t.Helper()
		is, err := goes(uid)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(is).To(BeFalse())
		g.Expect(asked).To(Equal(questions))
	}
	stays("a", 1)
	stays("b", 1)
	stays("a", 1)
	kindGoes = true
	stays("a", 1) // whoever deleted it did not delete the kind
	for _, uid := range []types.UID{"c", "d", "a"} {
		g.Expect(goes(uid)).To(BeTrue(), "what went with the kind, and from then on all: "+string(uid))
	}
	g.Expect(asked).To(Equal(4))

	kindGoes = false
	stays("c", 5)
	stays("d", 5)
	now = now.Add(kindStaysFor)
	fails = errors.New("no answer")
	_, err := goes("c")
	g.Expect(err).To(MatchError(fails), "it asks again after a while")
	fails = nil
	stays("c", 7)
	now = now.Add(-time.Hour)
	stays("c", 8) // the clock was set back
}
