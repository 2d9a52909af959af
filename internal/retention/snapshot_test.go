package retention_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// A run and its retries stay or go together. Each run of a BackupConfiguration stands for itself.
func TestTheRestorePointOfASnapshot(t *testing.T) {
	g := NewWithT(t)
	point := func(kind, run, label string) string {
		s := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelInvokerKind: kind}},
			Spec:       v1alpha1.SnapshotSpec{BackupSession: run},
		}
		if label != "" {
			s.Labels[v1alpha1.LabelRestorePoint] = label
		}
		return retention.FromSnapshot(s, "").Point
	}
	g.Expect(point(v1alpha1.BackupBatchKind, "run", "run")).To(Equal("run"))
	g.Expect(point(v1alpha1.BackupBatchKind, "run-r2", "run")).To(Equal("run"))
	g.Expect(point(v1alpha1.BackupBatchKind, "run", "")).To(Equal("run"), "of a manager that did not say so")
	g.Expect(point(v1alpha1.BackupConfigurationKind, "run-r1", "")).To(BeEmpty())
}
