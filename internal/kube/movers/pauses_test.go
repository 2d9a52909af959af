package movers_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
)

func TestPauses(t *testing.T) {
	g, ctx := NewWithT(t), t.Context()
	var p movers.Pauses
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	refused := func(names ...string) movers.Refusals {
		out := movers.Refusals{}
		for _, name := range names {
			out[name] = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "quota"}
		}
		return out
	}
	holds := func(name string, at time.Time) bool {
		into := movers.Refusals{}
		held := p.Hold(ctx, "a", at, into, []string{name})
		g.Expect(into[name] != nil).To(Equal(held))
		g.Expect(p.Held("a", at, name) != nil).To(Equal(held))
		return held
	}
	final := movers.Refusals{"final": {Reason: v1alpha1.ReasonInvalidTask}}
	g.Expect(p.Begin("a", now, final, time.Minute)).To(BeZero())
	g.Expect(p.Begin("a", now, refused("over"), 0)).To(BeZero(), "nobody waits for it any more")
	g.Expect(holds("final", now) || holds("over", now)).To(BeFalse())

	g.Expect(p.Begin("a", now, refused("one"), time.Minute)).To(Equal(time.Minute))
	soon := now.Add(20 * time.Second)
	g.Expect(holds("one", soon)).To(BeTrue())
	g.Expect(holds("two", soon)).To(BeFalse())
	g.Expect(p.Hold(ctx, "a", soon, refused("one"), []string{"one"})).To(BeFalse(), "the decision knows it")
	g.Expect(p.Begin("a", soon, refused("one", "two"), time.Hour)).To(Equal(40*time.Second), "the pause goes on")
	g.Expect(holds("two", soon)).To(BeTrue())
	g.Expect(p.Left("a", soon)).To(Equal(40 * time.Second))
	g.Expect(p.Left("b", soon)).To(BeZero(), "another object")
	g.Expect(p.Held("b", soon, "one")).To(Succeed(), "another object")
	g.Expect(p.Begin("a", soon, refused("one"), 5*time.Second)).To(Equal(5*time.Second), "the run has given room back")
	g.Expect(p.Begin("a", soon.Add(time.Second), refused("one"), time.Minute)).To(Equal(4 * time.Second))
	g.Expect(holds("one", now.Add(-time.Hour))).To(BeFalse(), "the clock was set back")
	g.Expect(holds("one", now.Add(time.Minute))).To(BeFalse(), "it is over")
	g.Expect(p.Left("a", now.Add(time.Minute))).To(BeZero())

	g.Expect(p.Begin("a", now.Add(time.Minute), refused("two"), time.Minute)).To(Equal(time.Minute))
	g.Expect(holds("one", now.Add(time.Minute))).To(BeFalse(), "it was not refused again")
	p.Forget("a")
	g.Expect(holds("two", now.Add(time.Minute))).To(BeFalse())
}
