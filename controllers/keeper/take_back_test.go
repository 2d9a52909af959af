package keeper_test

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A removal begins with the deletion of the Snapshot. One that was marked before, and that the policy keeps now, must
// not lose its data to whoever deletes it later.
func TestARemovalThatDidNotBeginIsTakenBack(t *testing.T) {
	t.Parallel()
	marked := func(s *shop, hours int, reason string) *v1alpha1.Snapshot {
		out := s.snapshot(s.repository, hours, good, wipeOutSnapshot)
		if reason != "" {
			bed.EditStatus(s.t, out, func() {
				conditions.MarkFalse(out, v1alpha1.ConditionRetained, reason, "RetentionPolicy a/b: no rule keeps it")
			})
		}
		return out
	}
	for name, policy := range map[string]func(*shop){
		"a policy keeps it":  func(s *shop) { s.policy("c", last(5), "web") },
		"everything is kept": func(s *shop) { s.configuration("c", nil, nil, "web") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newShop(t)
			policy(s)
			taken := []*v1alpha1.Snapshot{
				marked(s, 1, v1alpha1.ReasonNotKept), marked(s, 2, v1alpha1.ReasonTooOld),
			}
			half := s.snapshot(s.repository, 3, good) // the manager was killed after its first write
			bed.EditStatus(t, half, func() {
				conditions.MarkFalse(half, v1alpha1.ConditionRetained, v1alpha1.ReasonNotKept, "no rule keeps it")
			})
			users := marked(s, 4, "")
			bed.Edit(t, s.repository, func() { // a manager that starts looks at each Repository
				metav1.SetMetaDataAnnotation(&s.repository.ObjectMeta, "example.com/look", "again")
			})
			for _, snapshot := range append(taken, half) {
				bed.Eventually(t, snapshot, func(g Gomega) {
					g.Expect(snapshot.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
					g.Expect(conditions.Has(snapshot, v1alpha1.ConditionRetained)).To(BeFalse())
				}, "the removal is taken back")
				expectKept(t, snapshot)
			}
			g.Expect(s.get(users.Name).Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut), "somebody else wants that")
			bed.NoOp(t, retentions, &events, s.repository)
		})
	}
}
