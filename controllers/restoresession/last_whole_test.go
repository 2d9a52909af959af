package restoresession

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// A RetentionPolicy has let a Snapshot go, and its data stays because no other one is left whole. Who asks for the
// latest gets to know its name.
func TestLatestNamesTheLastWholeSnapshotThatRetentionLetGo(t *testing.T) {
	t.Parallel()
	damaged := func(w *world) {
		w.damage("second", "pvc")
		w.damage("pods", "pod-0")
	}
	for name, tt := range map[string]struct {
		others func(*world)
		began  bool
		want   string
		says   []string
	}{
		"the others are damaged": {damaged, false, "Invalid/SnapshotDamaged", []string{
			"name it in dataSource.snapshot (cairn restore --snapshot)", "is newer, but damaged",
			"dataSource.allowDamaged",
		}},
		"the others are gone": {func(w *world) {
			w.delete("second")
			w.delete("pods")
		}, false, "Invalid/SnapshotNotFound", []string{"name it in dataSource.snapshot (cairn restore --snapshot)"}},
		"its removal had begun": {damaged, true, "Invalid/SnapshotDamaged", []string{
			"name it in dataSource.snapshot with dataSource.allowDamaged",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.others(w)
			first := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "first"}}
			bed.Edit(t, first, func() { first.Finalizers = []string{v1alpha1.FinalizerWipe} })
			bed.EditStatus(t, first, func() {
				conditions.MarkFalse(first, v1alpha1.ConditionRetained, v1alpha1.ReasonNotKept, "no rule keeps it")
				if tt.began {
					retention.MarkRemovalBegan(first)
				}
				conditions.MarkFalse(first, v1alpha1.ConditionWiped, v1alpha1.ReasonLastSuccess, "%s",
					retention.Partly("none is left whole", first.Status.Conditions))
			})
			w.Expect(w.Client.Delete(t.Context(), first)).To(Succeed())
			w.restore("restore")
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(tt.want))
			w.Expect(message(s)).To(HavePrefix("no Snapshot of Repository uploads is left whole but first of "))
			for _, says := range tt.says {
				w.Expect(message(s)).To(ContainSubstring(says))
			}

			sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "other"))
			w.restore("named", func(s *v1alpha1.RestoreSession) {
				s.Spec.Target.Name = "other"
				s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "first", AllowDamaged: tt.began}
			})
			w.Expect(ending(w.settle("named"))).To(Equal("Succeeded/Succeeded"), "as the message says")
		})
	}
}

// delete removes a Snapshot.
func (w *world) delete(snapshot string) {
	w.T.Helper()
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: snapshot}}
	bed.Edit(w.T, s, func() { s.Finalizers = nil })
	w.Expect(w.Client.Delete(w.T.Context(), s)).To(Succeed())
}
