package keeper

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// The storage has gone back in time: a check has found the newest Snapshots damaged. What retention had let go before
// can be the only whole one.
func TestTheLastWholeSnapshotOfAStorageThatWentBackCanBeRestored(t *testing.T) {
	t.Parallel()
	g, now := NewWithT(t), time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	r, s := &v1alpha1.Repository{}, &v1alpha1.Snapshot{}
	r.Status.Integrity, r.Status.MovedTime = new(false), &metav1.Time{Time: now.Add(-time.Hour)}
	s.DeletionTimestamp = &metav1.Time{Time: now.Add(-2 * time.Hour)}
	s.Status.Phase = v1alpha1.SnapshotSucceeded
	conditions.MarkFalse(s, v1alpha1.ConditionRetained, v1alpha1.ReasonNotKept, "no rule keeps it")
	// stays notes why the Snapshot stays, and returns that and why it can't be restored by name.
	stays := func(whole map[retention.Session]bool) (string, *v1alpha1.ResolvedError) {
		why, err := whyStays(r, s, hold{}, func() (map[retention.Session]bool, error) { return whole, nil }, now)
		g.Expect(err).NotTo(HaveOccurred())
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, why.reason, "%s", why.message)
		return why.reason, restore.DeletionRefusal(s, &v1alpha1.RestoreDataSource{Snapshot: "s"}, false)
	}

	reason, refusal := stays(nil)
	g.Expect(reason).To(Equal(v1alpha1.ReasonLastSuccess))
	g.Expect(refusal).To(BeNil(), "it is the last whole one, and its data stays")

	reason, refusal = stays(map[retention.Session]bool{retention.SessionOf(s): true})
	g.Expect(reason).To(Equal(v1alpha1.ReasonRepositoryDamaged), "some of what it was let go for is damaged")
	g.Expect(refusal).NotTo(BeNil(), "there is another one to restore")
}
