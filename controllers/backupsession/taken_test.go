package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// Whoever can write to the backend chooses the names of the Snapshots that a scan makes. That must not cost a backup.
func TestARunWhoseSnapshotNameAScanHasTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configuration()
	forged := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: "uploads-run",
			Annotations: map[string]string{v1alpha1.AnnotationRebuilt: "uid"},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "forged", Repository: "uploads", Session: "nightly", BackupSession: "run", AppRef: uploads,
			Version: v1alpha1.SnapshotLayoutVersion,
		},
	}
	sessiontest.Create(t, w.Client, forged)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	name := policy.QualifiedSnapshotName("uploads", "run", s.UID)
	w.Expect(s.Status.Snapshots).To(ConsistOf(HaveField("Name", name)))
	w.Expect(w.snapshot(name).Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	w.Expect(w.snapshot(forged.Name).Spec.SnapshotID).To(Equal("forged"))
}
