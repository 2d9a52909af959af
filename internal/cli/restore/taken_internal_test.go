package restore

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// "latest" can be older than somebody thinks: the last line says which Snapshot was restored, and of what time.
func TestTheEndNamesWhatWasRestored(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	at := time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)
	snapshot := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "1"}}
	snapshot.Status.SnapshotTime = new(metav1.NewTime(at))
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(snapshot).Build()

	s := &v1alpha1.RestoreSession{}
	s.Status.Phase = v1alpha1.RestoreSessionSucceeded
	says := func() string { return newTaken(api, at.Add(time.Hour)).bySession(t.Context(), s) }
	g.Expect(says()).To(BeEmpty(), "the templates name VolumeSnapshots")
	s.Status.Resolved = &v1alpha1.ResolvedRestore{Namespace: "shop", Snapshot: "web-1", SnapshotUID: "1"}
	g.Expect(says()).To(Equal(", Snapshot web-1 of 2026-07-01T02:00:00Z"))
	s.Status.Resolved.SnapshotUID = "2"
	g.Expect(says()).To(Equal(", Snapshot web-1"), "another one has its name")
	s.Status.Phase = v1alpha1.RestoreSessionFailed
	g.Expect(says()).To(BeEmpty())

	b := &v1alpha1.RestoreBatch{}
	b.Status.Phase, b.Status.RestorePoint = v1alpha1.RestoreSessionSucceeded, "run"
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{Namespace: "shop"}
	g.Expect(byBatch(b)).To(Equal(", restore point of BackupSession run"))
	took := newTaken(api, at.Add(time.Hour))
	for name, want := range map[string]string{
		"web-1": "succeeded, Snapshot web-1 of 2026-07-01T02:00:00Z", "gone": "succeeded, Snapshot gone",
	} {
		g.Expect(took.target(t.Context(), b, v1alpha1.RestoreTargetStatus{
			Name: "web", Phase: v1alpha1.RestoreSessionSucceeded, Snapshot: name,
		})).To(Equal(want))
	}
}
