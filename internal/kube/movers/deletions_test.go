package movers_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testclock "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// What the API server refuses to delete holds up no other deletion, is told once, and is tried again after a pause.
func TestDeletions(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var d movers.Deletions
	var did []string
	answers := map[string]error{"a": testbed.Denied(http.StatusForbidden), "c": errors.New("connection lost")}
	one := func(name string) movers.Deletion {
		return movers.Deletion{Name: name, Do: func(context.Context) error {
			did = append(did, name)
			return answers[name]
		}}
	}
	clock := testclock.NewFakePassiveClock(runtest.Now)
	all := func() (bool, string, error) {
		did = nil
		return d.All(t.Context(), "uid", clock, []movers.Deletion{one("a"), one("b"), one("c")})
	}
	refused, news, err := all()
	g.Expect(refused).To(BeTrue())
	g.Expect(news).To(HavePrefix("the API server refuses it: "))
	g.Expect(err).To(MatchError("connection lost"))
	g.Expect(did).To(Equal([]string{"a", "b", "c"}))

	delete(answers, "c")
	refused, news, err = all()
	g.Expect(refused).To(BeTrue())
	g.Expect(news).To(BeEmpty())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(did).To(Equal([]string{"b", "c"}), "a is not tried yet")

	clock.SetTime(clock.Now().Add(movers.DeletedAgain))
	_, news, _ = all()
	g.Expect(news).To(BeEmpty(), "it is known")
	g.Expect(did).To(ContainElement("a"))

	clock.SetTime(clock.Now().Add(movers.DeletedAgain))
	delete(answers, "a")
	refused, _, _ = all()
	g.Expect(refused).To(BeFalse())
	g.Expect(did).To(ContainElement("a"))

	answers["a"] = testbed.Denied(http.StatusInternalServerError)
	_, news, _ = all()
	g.Expect(news).NotTo(BeEmpty(), "it is refused again")
	d.Forget("uid")
	_, _, _ = all()
	g.Expect(did).To(ContainElement("a"), "nothing is remembered of an object that has ended")
}

// A webhook that does not answer holds each deletion up for ten seconds. One pass does not wait for all of them, since
// thaws wait behind it, and the next goes on with the others.
func TestDeletionsThatTakeLong(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var d movers.Deletions
	clock := testclock.NewFakePassiveClock(runtest.Now)
	var did []string
	var all []movers.Deletion
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, movers.Deletion{Name: name, Do: func(context.Context) error {
			did = append(did, name)
			clock.SetTime(clock.Now().Add(10 * time.Second))
			return testbed.Denied(http.StatusInternalServerError)
		}})
	}
	pass := func() {
		did = nil
		refused, _, err := d.All(t.Context(), "uid", clock, all)
		g.Expect(refused).To(BeTrue())
		g.Expect(err).NotTo(HaveOccurred())
	}
	for _, next := range []string{"a", "b", "c", "a"} {
		pass()
		g.Expect(did).To(Equal([]string{next}))
		clock.SetTime(clock.Now().Add(movers.DeletedAgain))
	}
	pass()
	g.Expect(did).To(Equal([]string{"b"}))
	pass()
	g.Expect(did).To(Equal([]string{"c"}))
}
