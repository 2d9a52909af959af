package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A restore without root can't set the attributes of a root directory: the condition of its RestoreSession says so, but
// neither it nor the RestoreBatch lacks a thing.
func TestARestoreBatchLacksWhatItsTargetsLack(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		attributes int64
		want       string
	}{
		"a root directory": {2, v1alpha1.ReasonSucceeded}, "more": {3, v1alpha1.ReasonPartial},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := restoreBatchOf("web")
			child := restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded)
			child.Status.Components = map[string]v1alpha1.RestoredComponent{
				"pvc": {AttributesNotRestored: tt.attributes},
			}
			child.Status.Conditions = append(child.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionPartial, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPartial,
			})
			b.Status = Next(Input{
				Now: time.Unix(60, 0), Batch: b, Children: map[string]*v1alpha1.RestoreSession{"back-web": child},
			}).Status
			g.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
			g.Expect(b.ShownReason()).To(Equal(tt.want))
		})
	}
}

// Retention or somebody has removed the Snapshots of a run that is still there.
func TestARunWhoseSnapshotsAreGone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	source := &v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: "z"}
	list := []v1alpha1.Snapshot{pointSnapshot("a", "a", "web", 1), pointSnapshot("a", "a-r1", "db", 1)}
	g.Expect(LacksNamed(list, source)).To(BeTrue())
	for _, there := range []string{"a", "a-r1", v1alpha1.LatestBackupSession} {
		g.Expect(LacksNamed(list, &v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: there})).
			To(BeFalse(), there)
	}
	refusal := &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonSnapshotNotFound, Message: "there is none"}
	named := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "z"}}
	says := func(named *v1alpha1.BackupSession) string { return SnapshotsGone(refusal, source, named).Message }
	g.Expect(says(nil)).To(Equal("there is none"))
	g.Expect(says(named)).To(Equal("there is none"), "it is a run of another policy")
	named.Spec.Invoker = v1alpha1.TypedLocalObjectReference{Kind: v1alpha1.BackupBatchKind, Name: "shop"}
	g.Expect(says(named)).To(Equal("BackupSession z made no Snapshot of BackupBatch shop"))
	named.Status.Snapshots = []v1alpha1.SnapshotStatusInfo{{}}
	g.Expect(says(named)).To(Equal("BackupSession z made Snapshots of BackupBatch shop, but no Snapshot of it exists " +
		"any more: name another run (cairn get backupsessions)"))
}
