package restoresession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The deletion of a claim is still to come: a clock that was a year ahead has dated it, or the manager is behind.
// Nobody waits for that date, and no restore fails before it has waited at all.
func TestAClaimThatAWrongClockDeletedIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		deleted time.Duration
		later   []time.Duration // when the manager looks
		refused bool
	}{
		"just now":       {later: []time.Duration{0}},
		"long ago":       {deleted: -time.Hour, later: []time.Duration{0}, refused: true},
		"in a year only": {deleted: 365 * 24 * time.Hour, later: []time.Duration{0, 9 * time.Minute}},
		"in a year only, and it is used": {
			deleted: 365 * 24 * time.Hour, later: []time.Duration{0, 9 * time.Minute, 11 * time.Minute}, refused: true,
		},
		"the manager is two hours behind": {
			deleted: 2 * time.Hour, later: []time.Duration{0, 11 * time.Minute}, refused: true,
		},
		"the manager was ahead when it looked first": {
			deleted: 730 * 24 * time.Hour, later: []time.Duration{365 * 24 * time.Hour, 0, 9 * time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "data", UID: "old", Finalizers: []string{"kubernetes.io/pvc-protection"},
				DeletionTimestamp: new(metav1.NewTime(now.Add(tt.deleted))),
			}}
			c := fake.NewClientBuilder().WithObjects(claim).Build()
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r", UID: "uid-r"}}
			s.Status.Resolved = &v1alpha1.ResolvedRestore{}
			for i, later := range tt.later {
				clock := clocktesting.NewFakePassiveClock(now.Add(later))
				r := &Reconciler{Client: c, APIReader: c, Clock: clock, FieldManager: "test"}
				wait, err := r.freeName(t.Context(), s, &v1alpha1.ResolvedRestoreVolume{
					ClaimName: "data", Provision: &v1alpha1.ResolvedProvision{Replaces: "old"},
				})
				if tt.refused && i == len(tt.later)-1 {
					g.Expect(err).To(MatchError(ContainSubstring("has been terminating for more than 10m0s")))
					return
				}
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(wait).To(Equal(prepareInterval))
			}
		})
	}
}
