package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// However a run with copies ends, it leaves none behind, also if the manager is killed at any write.
func TestKilledWhileCopiesGo(t *testing.T) {
	t.Parallel()
	for way, end := range map[string]func(w *world){
		"a run that is deleted": func(w *world) {
			w.Expect(w.Client.Delete(w.T.Context(), w.session("run"))).To(Succeed())
		},
		"a deadline": func(w *world) { w.Clock.SetTime(w.session("run").Status.BackupDeadline.Time) },
		"a mover that fails": func(w *world) {
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Fail(v1alpha1.ReasonUnreadable) }
			w.Cluster()
		},
	} {
		start := func(t *testing.T) *world {
			w := copied(t, v1alpha1.CopySnapshot)
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Hang: true} }
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run", limited)
			for range 4 {
				w.Reconcile("run")
				w.Cluster()
			}
			w.Expect(w.Jobs()).To(HaveLen(2))
			end(w)
			return w
		}
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			w.Killer = &sessiontest.Killer{}
			undisturbed := w.Killer
			want := summary(w.settle("run"))
			w.Expect(want[0]).To(HavePrefix("Failed/"))
			w.clean()
			for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w := start(t)
					w.Killer = killer
					w.Expect(summary(w.settle("run"))).To(Equal(want))
					w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
					w.clean()
				})
			}
		})
	}
}
