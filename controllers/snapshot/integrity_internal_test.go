package snapshot

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The clock of the manager was a year ahead when it checked the VolumeSnapshots. It must not say for a year that it
// checks them then.
func TestACheckOfAClockThatWasAheadIsReportedAgain(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	r := &Reconciler{Clock: clocktesting.NewFakePassiveClock(now)}
	s := &v1alpha1.Snapshot{}
	s.Status.Phase, s.Status.Integrity = v1alpha1.SnapshotSucceeded, new(true)
	for at, want := range map[time.Time]bool{now.Add(-time.Minute): false, now.AddDate(1, 0, 0): true} {
		s.Status.LastCheckTime = new(metav1.NewTime(at))
		out, _, err := r.checked(t.Context(), s, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(out != nil).To(Equal(want))
	}
}
