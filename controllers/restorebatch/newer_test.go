package restorebatch

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// A target has failed for a while: the newest whole restore point is older than what the others have.
func TestLatestTellsWhatIsNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("back")
	b := w.settle("back")
	w.Expect(summary(b)).To(Equal(whole("second")))
	w.Expect(conditions.GetReason(b, v1alpha1.ConditionPartial)).To(Equal(v1alpha1.ReasonNewerSnapshot))
	w.Expect(conditions.GetMessage(b, v1alpha1.ConditionPartial)).To(And(ContainSubstring("--mixed"), HaveSuffix(
		"; target web: Snapshot shop-web-third of 2026-07-01T03:00:00Z, of BackupSession third, is newer than "+
			"shop-web-second of 2026-07-01T02:00:00Z; target uploads: Snapshot shop-uploads-third of "+
			"2026-07-01T03:00:00Z, of BackupSession third, is newer than shop-uploads-second of 2026-07-01T02:00:00Z")))
	w.Expect(w.EventReasons()).To(ContainElement(v1alpha1.ReasonNewerSnapshot))

	w.restore("named", func(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.BackupSession = "second" })
	w.Expect(conditions.Has(w.settle("named"), v1alpha1.ConditionPartial)).To(BeFalse(), "somebody has chosen it")
}

// Nothing is restored, so nothing newer is missed.
func TestASkippedRestoreMissesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("back")
	b := w.settle("back")
	w.again(b)
	b = w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSkipped))
	w.Expect(conditions.Has(b, v1alpha1.ConditionPartial)).To(BeFalse())
}

// renamed gives the BackupBatch another name. Its first run under that name backs up web into the same Repository.
func (w *world) renamed(made func(*v1alpha1.Snapshot)) {
	w.T.Helper()
	w.snapshot("fourth", "fourth", "web", 4, false)
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-web-fourth"}}
	bed.Edit(w.T, s, func() {
		s.Labels[v1alpha1.LabelInvokerName] = "store"
		s.Labels[v1alpha1.LabelConfiguration] = policy.ChildName("store", "web")
		made(s)
	})
	at := metav1.NewTime(time.Date(2026, 7, 1, 4, 0, 0, 0, time.UTC))
	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-web"}}
	bed.EditStatus(w.T, r, func() {
		r.Status.RecentSnapshots = []v1alpha1.SnapshotInfo{
			{Name: "gone", Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: &at, Session: "hourly"},
			{Name: s.Name, Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: &at, Session: "hourly"},
		}
	})
}

func TestLatestTellsWhatAnotherPolicyMade(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		made  func(*v1alpha1.Snapshot)
		edit  func(*v1alpha1.RestoreBatch)
		tells bool
	}{
		"a good one": {tells: true},
		"one of what was half restored": {made: func(s *v1alpha1.Snapshot) {
			s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
		}},
		"of an earlier time": {edit: func(b *v1alpha1.RestoreBatch) {
			b.Spec.DataSource.BackupSession = ""
			b.Spec.DataSource.PITR = &v1alpha1.PITR{
				TargetTime: &metav1.Time{Time: time.Date(2026, 7, 1, 3, 30, 0, 0, time.UTC)},
			}
		}},
		"a mix": {
			edit:  func(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.Mixed = true },
			tells: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.made == nil {
				tt.made = func(*v1alpha1.Snapshot) {}
			}
			w.renamed(tt.made)
			w.restore("back", func(b *v1alpha1.RestoreBatch) {
				b.Spec.Targets = b.Spec.Targets[:2]
				if tt.edit != nil {
					tt.edit(b)
				}
			})
			message := conditions.GetMessage(w.settle("back"), v1alpha1.ConditionPartial)
			if !tt.tells {
				w.Expect(message).To(BeEmpty())
				return
			}
			w.Expect(message).To(And(ContainSubstring("(--batch)"), Not(ContainSubstring("--mixed")), HaveSuffix(
				"; target web: Snapshot shop-web-fourth of 2026-07-01T04:00:00Z, of BackupBatch store, is newer than "+
					"shop-web-third of 2026-07-01T03:00:00Z")))
		})
	}
}

// The policy has a new name, and has not run under it.
func TestARefusalNamesTheSnapshotsOfAnotherPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.renamed(func(*v1alpha1.Snapshot) {})
	w.Expect(w.refusalOfAThirdName()).To(Equal("BackupBatch third-name has no successful " +
		"Snapshot of any of these targets. But Repository shop-web holds Snapshot shop-web-fourth of " +
		"2026-07-01T04:00:00Z, of BackupBatch store: if you want it, restore it with its BackupBatch in " +
		"dataSource.backupBatch (--batch), or alone (--snapshot)"))
}

// The namespace was deleted, and its policy is back. Its backends still hold the backups.
func TestARefusalSaysHowBackupsComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Expect(w.Client.DeleteAllOf(t.Context(), &v1alpha1.Snapshot{}, client.InNamespace(w.Namespace))).To(succeed())
	w.Expect(w.refusalOfAThirdName()).To(Equal("BackupBatch third-name has no successful Snapshot of any of these " +
		"targets. If the backends hold backups that the cluster has lost, bring them back: cairn repository scan " +
		"shop-web -n " + w.Namespace))
}

// Somebody has deleted the Snapshots of one run. The BackupBatch has others.
func TestARefusalSaysThatTheSnapshotsOfARunAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "zeroth"}}
	s.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
		APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind, Name: "shop",
	}
	s.Spec.Session = "hourly"
	bed.Create(t, s)
	bed.EditStatus(t, s, func() {
		s.Status.Phase = v1alpha1.BackupSessionSucceeded
		s.Status.Snapshots = []v1alpha1.SnapshotStatusInfo{{Name: "shop-web-zeroth"}}
	})
	w.restore("back", func(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.BackupSession = "zeroth" })
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonSnapshotNotFound))
	w.Expect(conditions.GetMessage(b, meta.ReadyCondition)).To(HavePrefix(
		"BackupSession zeroth made Snapshots of BackupBatch shop, but no Snapshot of it exists any more: name another"))
}

// refusalOfAThirdName restores the target web of a BackupBatch that has not run, and returns the refusal.
func (w *world) refusalOfAThirdName() string {
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "third-name"}}
	batch.Spec.Backends = []v1alpha1.BackendReference{{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: "s3"}}}
	batch.Spec.Targets = []v1alpha1.BatchTarget{{Name: "web", AppRef: v1alpha1.TypedObjectReference{
		Kind: v1alpha1.KindPersistentVolumeClaim, Name: "web",
	}}}
	batch.Spec.Sessions = []v1alpha1.BackupBatchSession{{
		SessionConfig: v1alpha1.SessionConfig{
			Name: "hourly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "17 * * * *"},
		},
		Targets: []v1alpha1.BatchSessionTarget{{Name: "web"}},
	}}
	w.Expect(w.Client.Create(w.T.Context(), batch)).To(succeed())
	w.restore("back", func(b *v1alpha1.RestoreBatch) {
		b.Spec.DataSource.BackupBatch, b.Spec.Targets = "third-name", b.Spec.Targets[:1]
	})
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonSnapshotNotFound))
	return conditions.GetMessage(b, meta.ReadyCondition)
}
