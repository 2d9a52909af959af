package retention_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// A restore may name VolumeSnapshots themselves, and no Snapshot.
func TestARestoreKeepsTheVolumeSnapshotsThatItNames(t *testing.T) {
	g := NewWithT(t)
	template := v1alpha1.RestoreClaimTemplate{Metadata: v1alpha1.ClaimMetadata{Name: "again-${POD_ORDINAL}"}}
	template.Spec.DataSource = &corev1.TypedLocalObjectReference{
		Kind: "VolumeSnapshot",
		Name: "data-${POD_ORDINAL}-1795154820",
	}
	r := v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "back"}}
	r.Spec.Addon = &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{TargetVolumes: &v1alpha1.TargetVolumes{
		Replicas: new(int32(2)), VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{template},
	}}}}
	by := func(namespace, volumeSnapshot string) string {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s"}}
		s.Status.Components = map[string]v1alpha1.Component{
			"pvc": {VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{VolumeSnapshotName: volumeSnapshot}}},
		}
		return retention.NewInUse([]v1alpha1.RestoreSession{r}, nil).By(s)
	}
	g.Expect(by("shop", "data-1-1795154820")).To(Equal("RestoreSession shop/back"))
	g.Expect(by("shop", "data-2-1795154820")).To(BeEmpty(), "there are two replicas")
	g.Expect(by("other", "data-1-1795154820")).To(BeEmpty(), "it is of another namespace")
	r.Status.Phase = v1alpha1.RestoreSessionSucceeded
	g.Expect(by("shop", "data-1-1795154820")).To(BeEmpty(), "it has ended")
}

// A RestoreBatch keeps the Snapshots that it has not come to yet.
func TestARestoreBatchKeepsWhatItChose(t *testing.T) {
	g := NewWithT(t)
	b := v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "copy", Name: "back"}}
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{Namespace: "shop"}
	b.Status.Targets = []v1alpha1.RestoreTargetStatus{
		{Name: "web", Snapshot: "web-1", Phase: v1alpha1.RestoreSessionSucceeded},
		{Name: "db", Snapshot: "db-1", Phase: v1alpha1.RestoreSessionPending},
	}
	by := func(namespace, name string) string {
		return retention.NewInUse(nil, []v1alpha1.RestoreBatch{b}).
			By(&v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	g.Expect(by("shop", "db-1")).To(Equal("RestoreBatch copy/back"))
	g.Expect(by("shop", "web-1")).To(BeEmpty(), "it is restored")
	g.Expect(by("copy", "db-1")).To(BeEmpty(), "it is of another namespace")
	b.Status.Phase = v1alpha1.RestoreSessionFailed
	g.Expect(by("shop", "db-1")).To(BeEmpty(), "it has ended")
}

// What goes before it has chosen would be gone when it restores.
func TestARestoreBatchKeepsWhatItCanChoose(t *testing.T) {
	g := NewWithT(t)
	b := v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "copy", Name: "back"}}
	b.Spec.DataSource = v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", Namespace: "shop", Session: "nightly"}
	by := func(namespace, batch, session string) string {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web-1"}}
		s.Labels = map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: batch,
		}
		s.Spec.Session = session
		return retention.NewInUse(nil, []v1alpha1.RestoreBatch{b}).By(s)
	}
	g.Expect(by("shop", "shop", "nightly")).To(Equal("RestoreBatch copy/back"))
	g.Expect(by("shop", "shop", "hourly")).To(BeEmpty(), "it is of another session")
	g.Expect(by("shop", "blog", "nightly")).To(BeEmpty(), "it is of another BackupBatch")
	g.Expect(by("copy", "shop", "nightly")).To(BeEmpty(), "it is of another namespace")
	b.Status.Phase = v1alpha1.RestoreSessionInvalid
	g.Expect(by("shop", "shop", "nightly")).To(BeEmpty(), "it has ended")
}

// The lists of a cache have no order: the name of the restore must not change from look to look.
func TestTheSameRestoreIsNamedAtEachLook(t *testing.T) {
	g := NewWithT(t)
	var sessions []v1alpha1.RestoreSession
	var batches []v1alpha1.RestoreBatch
	for _, name := range []string{"c", "a", "b"} {
		session := v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		session.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "web-1"}
		batch := v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		batch.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{Namespace: "shop"}
		batch.Status.Targets = []v1alpha1.RestoreTargetStatus{{Name: "web", Snapshot: "web-1"}}
		sessions, batches = append(sessions, session), append(batches, batch)
	}
	snapshot := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}}
	g.Expect(retention.NewInUse(sessions, nil).By(snapshot)).To(Equal("RestoreSession shop/a"))
	g.Expect(retention.NewInUse(nil, batches).By(snapshot)).To(Equal("RestoreBatch shop/a"))
}
