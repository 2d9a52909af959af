package restorebatch

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
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

// The last whole Snapshots stay beside those of half restored targets. Nobody must hear that there is none.
func TestAHalfRestoredPointNamesTheLastWholeSnapshots(t *testing.T) {
	t.Parallel()
	half := func(s *v1alpha1.Snapshot) {
		s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
	}
	stays := func(s *v1alpha1.Snapshot) {
		s.DeletionTimestamp = &metav1.Time{Time: later}
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, v1alpha1.ReasonLastSuccess, "it is the last")
	}
	began := func(s *v1alpha1.Snapshot) { retention.MarkRemovalBegan(s) }
	rebuilt := func(s *v1alpha1.Snapshot) {
		s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
	}
	for name, tt := range map[string]struct {
		web, db []func(*v1alpha1.Snapshot)
		want    string
	}{
		"of both targets": {
			[]func(*v1alpha1.Snapshot){stays},
			[]func(*v1alpha1.Snapshot){stays},
			"(web-first, db-first). Of web-first: retention has let it go",
		},
		"of one target": {[]func(*v1alpha1.Snapshot){stays}, nil, "(web-first). Of web-first: "},
		"a removal of it began": {
			[]func(*v1alpha1.Snapshot){stays, began}, nil, "(cairn restore --allow-damaged)",
		},
		"a scan made it": {[]func(*v1alpha1.Snapshot){stays, rebuilt}, nil, ". But no check has looked at it since"},
		"all half restored": {
			[]func(*v1alpha1.Snapshot){stays, half},
			[]func(*v1alpha1.Snapshot){stays, half},
			"there is none from before: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			list := []v1alpha1.Snapshot{
				pointSnapshot("first", "first", "web", 1, tt.web...),
				pointSnapshot("first", "first", "db", 1, tt.db...),
				pointSnapshot("second", "second", "web", 2, half), pointSnapshot("second", "second", "db", 2, half),
			}
			_, refusal := ChooseSnapshots(list, &v1alpha1.RestoreBatchSpec{
				DataSource: v1alpha1.RestoreBatchDataSource{
					BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
				},
				Targets: []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}},
			}, later)
			g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonHalfRestored))
			g.Expect(refusal.Message).To(ContainSubstring(tt.want))
		})
	}
}
