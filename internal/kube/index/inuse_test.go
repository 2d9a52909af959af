package index

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A backup that still writes holds its Snapshot: else a keeper would remove data below a mover.
func TestAnUnfinishedBackupUsesItsSnapshot(t *testing.T) {
	for name, tt := range map[string]struct {
		session  v1alpha1.BackupSessionPhase
		snapshot v1alpha1.SnapshotPhase
		user     string
	}{
		"it runs":  {v1alpha1.BackupSessionRunning, v1alpha1.SnapshotRunning, "shop/nightly"},
		"it ended": {v1alpha1.BackupSessionFailed, v1alpha1.SnapshotRunning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}}
			s.Status.Phase = tt.session
			snapshot := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}}
			snapshot.Spec.BackupSession, snapshot.Status.Phase = "nightly", tt.snapshot
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(s).Build()
			user, err := InUse{}.User(t.Context(), c, snapshot)
			g.Expect(err).NotTo(HaveOccurred())
			if tt.user == "" {
				g.Expect(user).To(BeEmpty())
			} else {
				g.Expect(user).To(ContainSubstring(tt.user))
			}
		})
	}
}
