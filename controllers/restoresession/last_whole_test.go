package restoresession

import (
	"strings"
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
			"name it in dataSource.snapshot of a RestoreSession (cairn restore --snapshot)", "is newer, but damaged",
			"dataSource.allowDamaged",
		}},
		"the others are gone": {func(w *world) {
			w.delete("second")
			w.delete("pods")
		}, false, "Invalid/SnapshotNotFound", []string{
			"name it in dataSource.snapshot of a RestoreSession (cairn restore --snapshot)",
		}},
		"its removal had begun": {damaged, true, "Invalid/SnapshotDamaged", []string{
			"name it in dataSource.snapshot of a RestoreSession with dataSource.allowDamaged",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.others(w)
			w.letGo("first", tt.began)
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

// A backup of a half restored target does not let the last whole Snapshot go either.
func TestLatestNamesTheLastWholeSnapshotBesideAHalfRestoredOne(t *testing.T) {
	t.Parallel()
	for _, began := range []bool{false, true} {
		w := newWorld(t)
		w.delete("pods")
		second := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "second"}}
		bed.Edit(t, second, func() {
			second.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
		})
		w.letGo("first", began)
		w.restore("restore")
		s := w.settle("restore")
		w.Expect(ending(s)).To(Equal("Invalid/HalfRestored"))
		w.Expect(message(s)).To(ContainSubstring("from before there is only first of "))
		w.Expect(strings.Contains(message(s), "with dataSource.allowDamaged")).To(Equal(began), message(s))
	}
}

// delete removes a Snapshot.
func (w *world) delete(snapshot string) {
	w.T.Helper()
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: snapshot}}
	bed.Edit(w.T, s, func() { s.Finalizers = nil })
	w.Expect(w.Client.Delete(w.T.Context(), s)).To(Succeed())
}

// letGo makes a Snapshot one that retention has let go, and that stays as the last whole one. began says that its
// removal had begun.
func (w *world) letGo(snapshot string, began bool) {
	w.T.Helper()
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: snapshot}}
	bed.Edit(w.T, s, func() { s.Finalizers = []string{v1alpha1.FinalizerWipe} })
	bed.EditStatus(w.T, s, func() {
		conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonNotKept, "no rule keeps it")
		if began {
			retention.MarkRemovalBegan(s)
		}
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, v1alpha1.ReasonLastSuccess, "%s",
			retention.Partly("none is left whole", s.Status.Conditions))
	})
	w.Expect(w.Client.Delete(w.T.Context(), s)).To(Succeed())
}
