package ledger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	keptPage    = "Cairn keeps this page up to date."
	retiredPage = "**No longer kept since "
)

func (w *world) page(folder string) string { return w.git("show", branch+":"+folder+"/STATUS.md") }

func (w *world) gone(o client.Object) bool {
	return apierrors.IsNotFound(bed.Client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
}

// remove deletes a Ledger, and lets it push for a minute.
func (w *world) remove(l *v1alpha1.Ledger) {
	w.t.Helper()
	if err := bed.Client.Delete(w.t.Context(), l); err != nil {
		w.t.Fatal(err)
	}
	for range 6 {
		if _, err := w.push(l); err != nil {
			w.t.Fatal(err)
		}
		w.pass(11 * time.Second)
	}
}

func TestThePageOfADeletedLedgerSaysSo(t *testing.T) {
	t.Parallel()
	for name, records := range map[string]bool{"with records that wait": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			w.nightly("diary")
			l, other := w.ledger("ledger"), w.ledger("other")
			w.settle(other) // it writes the page
			w.settle(l)
			w.remove(other)
			g.Expect(w.gone(other)).To(BeTrue())
			w.reconciler.memories.changed(client.ObjectKeyFromObject(l), w.clock.Now()) // as sharers does
			w.pass(11 * time.Second)
			g.Expect(w.push(l)).Error().NotTo(HaveOccurred(), "it had nothing to push so far, and now writes the page")
			g.Expect(w.page("clusters/production")).To(ContainSubstring(keptPage), "the first Ledger goes on with it")
			if records {
				w.session("a")
				w.pass(time.Minute)
				g.Expect(w.collect()).Error().NotTo(HaveOccurred())
			}
			from := time.Now().UTC().Format(time.DateOnly)
			w.remove(l)
			g.Expect(w.gone(l)).To(BeTrue())
			until := time.Now().UTC().Format(time.DateOnly) // another day around midnight
			retired := "# Backups of production\n\n" + retiredPage
			g.Expect(w.page("clusters/production")).To(And(
				Or(HavePrefix(retired+from+" "), HavePrefix(retired+until+" ")),
				ContainSubstring("diary"), Not(ContainSubstring(keptPage))))
			if records {
				g.Expect(w.files("clusters/production/records")).To(HaveLen(1))
			}
			w.settle(w.ledger("again"))
			g.Expect(w.page("clusters/production")).To(ContainSubstring(keptPage))
		})
	}
}

func TestADeletedLedgerDoesNotWaitToRetireItsPage(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	w.pass(time.Minute)
	w.down = true
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(w.gone(l)).To(BeTrue())
}

func TestThePageThatALedgerLeavesSaysSo(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*v1alpha1.Ledger){
		"another name": func(l *v1alpha1.Ledger) { l.Spec.ClusterName = "staging" },
		"another path": func(l *v1alpha1.Ledger) { l.Spec.ClusterName, l.Spec.Path = "staging", "other/" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			w.nightly("diary")
			l, other := w.ledger("ledger"), w.ledger("other")
			w.settle(l)
			w.settle(other)
			g.Expect(get(w, l).Status.LastFolder).To(Equal("clusters/production"))
			bed.Edit(t, other, func() { change(other) })
			w.settle(other)
			g.Expect(w.page("clusters/production")).To(ContainSubstring(keptPage), "the first Ledger goes on with it")
			w.restart()
			bed.Edit(t, l, func() { change(l) })
			w.settle(l)
			now := get(w, l).Status.LastFolder
			g.Expect(w.page("clusters/production")).To(And(
				HavePrefix("# Backups of production\n\n"+retiredPage),
				ContainSubstring("Cairn goes on in "+now+"/STATUS.md."), ContainSubstring("diary"),
				Not(ContainSubstring(keptPage))))
			g.Expect(w.page(now)).To(HavePrefix("# Backups of staging\n\n" + keptPage))
			tip := w.tip()
			w.settle(l)
			g.Expect(w.tip()).To(Equal(tip))
			bed.Edit(t, l, func() { l.Spec.ClusterName, l.Spec.Path = "production", "" })
			w.settle(l)
			g.Expect(w.page("clusters/production")).To(ContainSubstring(keptPage))
		})
	}
}

// Another cluster has taken over the folder that the Ledger leaves.
func TestThePageOfAnotherClusterStays(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	w.reconciler.ClusterUID = "cluster-2"
	bed.Edit(t, get(w, l), func() { l.Spec.ClusterName = "staging" })
	w.settle(l)
	g.Expect(get(w, l).Status.LastFolder).To(Equal("clusters/staging"))
	g.Expect(w.page("clusters/production")).To(ContainSubstring(keptPage))
}
