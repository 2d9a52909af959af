package backupsession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// The clock of the API server was a year ahead when it made a run, which the history keeps until then. What fails today
// is retried all the same: nobody knows of a later run.
func TestARunOfAClockThatWasAheadTakesNoRetryAway(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	made := func(name string, at time.Time, phase v1alpha1.BackupSessionPhase) *v1alpha1.BackupSession {
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(at),
		}}
		s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{Kind: v1alpha1.BackupConfigurationKind, Name: "web"}
		s.Spec.Session, s.Status.Phase, s.Status.CompletionTime = "nightly", phase, new(metav1.NewTime(at))
		return s
	}
	ahead := made("ahead", now.AddDate(1, 0, 0), v1alpha1.BackupSessionSucceeded)
	failed := made("failed", now.Add(-time.Hour), v1alpha1.BackupSessionFailed)
	ahead.UID, failed.UID = "uid-ahead", "uid-failed"
	failed.Spec.RetryLeft = 1
	failed.Status.NextRetry, failed.Status.Retried = new(metav1.NewTime(now.Add(-time.Minute))), new(false)
	c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(failed).
		WithObjects(ahead, failed).Build()
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(failed), failed)).To(Succeed())
	events := record.NewFakeRecorder(10)
	r := &Reconciler{
		Client: c, APIReader: c, Clock: clocktesting.NewFakePassiveClock(now), FieldManager: "test",
		EventRecorder: events,
	}
	_, err := r.retry(t.Context(), failed)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(failed.Status.Retried).To(HaveValue(BeTrue()), "it is retried")
}
