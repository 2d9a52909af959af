package ledger

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A process that lost its lease was paused before one of its writes, and goes on when the next process has pushed these
// records and others. Every record is in the branch once, and the status says what the next process wrote.
func TestAPausedProcess(t *testing.T) {
	t.Parallel()
	paused := func(t *testing.T, n int) (happened bool) {
		g, w := NewWithT(t), newWorld(t)
		l := w.ledger("ledger")
		w.settle(l)
		a := w.session("a")
		first, collector, writes := w.reconciler, w.collector, 0
		var b *v1alpha1.BackupSession
		w.write = func(before bool) error {
			if !before {
				return nil
			}
			if writes++; writes != n {
				return nil
			}
			happened = true
			w.write = func(bool) error { return nil }
			data := w.data
			w.data, w.reconciler = t.TempDir(), nil // the next process runs in another pod
			w.restart()
			b = w.session("b")
			w.settle(l)
			w.reconciler.memories.closeAll()
			w.data = data
			return nil
		}
		w.pass(11 * time.Second)
		_, _ = collector.Reconcile(t.Context(), everything)
		_, _ = first.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(l)})
		w.write = nil
		first.memories.closeAll()
		if !happened {
			return false
		}
		next := get(w, l).Status
		w.reconciler = nil
		w.restart()
		w.settle(l)
		g.Expect(w.files("clusters/production/records")).To(ConsistOf(w.path(a), w.path(b)))
		for _, s := range []*v1alpha1.BackupSession{a, b} {
			g.Expect(get(w, s).Finalizers).To(BeEmpty())
			g.Expect(s.Status.Records).To(HaveLen(1))
			w.git("cat-file", "-e", s.Status.Records[0].Commit+":"+w.path(s)) // the commit has the record
		}
		if n >= 5 { // the paused process had written the commit that added the record
			g.Expect(get(w, a).Status.Records[0].Commit).
				To(Equal(w.git("log", "--format=%H", branch, "--", w.path(a))))
		}
		if n >= 3 { // an outdated parcel is pushed again, which changes nothing but the number
			g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(2))
		}
		g.Expect(next.LastPushedCommit).To(Equal(w.tip()), "no outdated status comes back")
		g.Expect(l).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
		return true
	}
	for n := 1; n <= 6; n++ {
		t.Run(fmt.Sprintf("write %d", n), func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(paused(t, n) || n > 4).To(BeTrue())
		})
	}
}
