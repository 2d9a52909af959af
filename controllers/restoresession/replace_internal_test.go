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

// A clock that was a year ahead has dated the deletion of a claim: nobody waits for it until next year.
func TestAClaimThatAWrongClockDeletedIsNotWaitedForInSilence(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		deleted time.Duration
		refused bool
	}{
		"just now":       {},
		"long ago":       {deleted: -time.Hour, refused: true},
		"in a year only": {deleted: 365 * 24 * time.Hour, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "data", UID: "old", Finalizers: []string{"kubernetes.io/pvc-protection"},
				DeletionTimestamp: new(metav1.NewTime(now.Add(tt.deleted))),
			}}
			r := &Reconciler{
				APIReader: fake.NewClientBuilder().WithObjects(claim).Build(),
				Clock:     clocktesting.NewFakePassiveClock(now),
			}
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r", UID: "uid-r"}}
			s.Status.Resolved = &v1alpha1.ResolvedRestore{}
			wait, err := r.freeName(t.Context(), s, &v1alpha1.ResolvedRestoreVolume{
				ClaimName: "data", Provision: &v1alpha1.ResolvedProvision{Replaces: "old"},
			})
			if tt.refused {
				g.Expect(err).To(MatchError(ContainSubstring("has been terminating for more than 10m0s")))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(wait).To(Equal(prepareInterval))
		})
	}
}
