package retention

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The status names keep, or another policy, or none, for example because two configurations named different ones.
func TestWhenAnotherPolicyHasComeIntoForce(t *testing.T) {
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	now := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(-d))) }
	keep, other := &v1alpha1.ObjectReference{Name: "keep"}, &v1alpha1.ObjectReference{Name: "other"}
	for name, c := range map[string]struct {
		was, is *v1alpha1.ObjectReference
		noted   *metav1.Time
		first   bool
		refused bool
		want    *metav1.Time
		again   time.Duration // 0 if nothing is held
	}{
		"as before, also after an upgrade": {was: keep, is: keep},
		"the first look":                   {is: keep, first: true},
		"another policy":                   {was: other, is: keep, want: ago(0), again: SettleTime},
		"a policy after none":              {is: keep, want: ago(0), again: SettleTime},
		"none any more":                    {was: keep, noted: ago(time.Second)},
		"changed a while ago": {
			was: keep, is: keep, noted: ago(time.Minute), want: ago(time.Minute), again: time.Minute,
		},
		"changed again": {was: other, is: keep, noted: ago(time.Minute), want: ago(0), again: SettleTime},
		"settled":       {was: keep, is: keep, noted: ago(SettleTime)},
		"refused":       {was: keep, is: keep, noted: ago(time.Hour), refused: true, want: ago(time.Hour)},
		"the clock was ahead": {
			was: keep, is: keep, noted: ago(-time.Hour), want: ago(0), again: SettleTime,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := &Reconciler{
				Client: fake.NewClientBuilder().WithScheme(scheme).Build(), SettleTime: SettleTime,
				Clock: clocktesting.NewFakePassiveClock(now),
			}
			repository := &v1alpha1.Repository{Status: v1alpha1.RepositoryStatus{
				RetentionPolicy: c.was, RetentionChangedTime: c.noted,
			}}
			if !c.first {
				conditions.MarkTrue(repository, v1alpha1.ConditionRetentionApplied, v1alpha1.ReasonApplied, "applied")
			}
			s := &state{repository: repository, ref: c.is}
			if c.refused {
				s.refusal = &trouble{}
			}
			g.Expect(r.noteChange(t.Context(), s)).To(Succeed())
			g.Expect(s.changedAt).To(Equal(c.want))
			if c.again == 0 {
				g.Expect(s.changing).To(BeNil())
				return
			}
			g.Expect(s.changing.again).To(Equal(c.again))
		})
	}
}
