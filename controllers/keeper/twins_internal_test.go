package keeper

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// A bucket was copied, and the copy is a Repository of its own beside the first one: a scan gives its Snapshots other
// names. Later the first Repository goes, and somebody scans the copy once more. Two Snapshots of one backup would cost
// its data: retention lets one of them go.
func TestAScanMakesOneSnapshotOfABackup(t *testing.T) {
	t.Parallel()
	g, b := NewWithT(t), newBackend(t)
	first := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "first"},
		Spec: v1alpha1.SnapshotSpec{
			Repository: "retired", SnapshotID: "id-first", BackupSession: "run", Session: "nightly",
		},
	}
	g.Expect(b.Create(t.Context(), first)).To(Succeed())
	done, err := b.scan(t.Context(), t, "one", inBackend("first", 0))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(done).To(BeTrue())
	g.Expect(b.Delete(t.Context(), first)).To(Succeed())
	done, err = b.scan(t.Context(), t, "two", inBackend("first", 0))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(done).To(BeTrue())

	var list v1alpha1.SnapshotList
	g.Expect(b.List(t.Context(), &list, client.InNamespace("shop"))).To(Succeed())
	g.Expect(list.Items).To(HaveLen(1), "there is one backup")
	g.Expect(list.Items[0].Name).To(Equal(policy.RebuiltSnapshotName("first", "uid-web")))
	g.Expect(list.Items[0].Status.Components).To(HaveKey("pvc"))
}

// Twins from an earlier version: the scan goes on with the one that stays, not with the one that is on its way out.
func TestAScanGoesOnWithTheSnapshotThatStays(t *testing.T) {
	t.Parallel()
	g, b := NewWithT(t), newBackend(t)
	for _, name := range []string{"first", policy.RebuiltSnapshotName("first", "uid-web")} {
		s := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: name, Finalizers: []string{v1alpha1.FinalizerRecord},
			},
			Spec: v1alpha1.SnapshotSpec{
				Repository: "web", SnapshotID: "id-first", BackupSession: "run", Session: "nightly",
			},
			Status: v1alpha1.SnapshotStatus{Phase: v1alpha1.SnapshotSucceeded},
		}
		g.Expect(b.Create(t.Context(), s)).To(Succeed())
		if name == "first" {
			g.Expect(b.Delete(t.Context(), s)).To(Succeed())
		}
	}
	done, err := b.scan(t.Context(), t, "one", inBackend("first", 0))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(done).To(BeTrue())
}

// Whoever can write to the backend can give one Snapshot the snapshotID of another: the scan says that it left one out.
func TestAScanTellsOfTwoBackupsWithOneID(t *testing.T) {
	t.Parallel()
	g, b := NewWithT(t), newBackend(t)
	second := inBackend("second", 0)
	second.Spec.SnapshotID = "id-first"
	done, err := b.scan(t.Context(), t, "job", inBackend("first", 0), second)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(done).To(BeTrue())
	g.Expect(b.repository.Status.LastScan).To(HaveValue(And(
		HaveField("Rebuilt", int32(1)), HaveField("Refused", int32(1)))))
	g.Expect(conditions.GetMessage(b.repository, v1alpha1.ConditionScanned)).To(
		HaveSuffix(`"second": another Snapshot of the backend has its snapshotID`))
}
