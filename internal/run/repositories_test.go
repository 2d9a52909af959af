package run

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestNoRunBeginsInARepositoryThatIsWiped(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		deleted bool
		wiped   string // the reason of the condition
		phase   string
		want    bool
	}{
		"it is ready":            {phase: v1alpha1.PhaseReady, want: true},
		"it is not ready":        {phase: v1alpha1.PhaseNotReady},
		"nothing is decided yet": {phase: v1alpha1.PhaseReady, deleted: true, want: true},
		"its removal waits for a run": {
			phase: v1alpha1.PhaseReady, deleted: true, wiped: v1alpha1.ReasonInUse, want: true,
		},
		"it is being wiped":             {phase: v1alpha1.PhaseReady, deleted: true, wiped: v1alpha1.ReasonProgressing},
		"a keeper failed, and tries on": {phase: v1alpha1.PhaseReady, deleted: true, wiped: v1alpha1.ReasonUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, r := NewWithT(t), &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
			r.Status.Phase = tt.phase
			if tt.deleted {
				r.DeletionTimestamp = new(metav1.Now())
			}
			if tt.wiped != "" {
				conditions.MarkFalse(r, v1alpha1.ConditionWiped, tt.wiped, "later")
			}
			g.Expect(IsReady(r)).To(Equal(tt.want))
			if tt.wiped != "" && !tt.want {
				_, message, wait := WhyNotReady(r)
				g.Expect(message).To(Equal("Repository web is being deleted, and its data with it"))
				g.Expect(wait).To(BeZero())
			}
		})
	}
}
