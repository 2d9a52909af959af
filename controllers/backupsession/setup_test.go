package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// With caches that lag and watches that wake it, a run completes without further requests.
func TestAManagerRunsABatch(t *testing.T) {
	w := newWorld(t)
	w.batch()
	repo := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db"}}
	bed.EditStatus(t, repo, func() { repo.Status.Phase = v1alpha1.PhaseNotReady })
	w.manage()

	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	phase := func() string { return summary(w.session("run"))[0] }
	w.Eventually(phase).WithTimeout(testbed.Patience).
		Should(Equal("Pending/RepositoryNotReady"), "a repository is not ready")
	bed.EditStatus(t, repo, func() { repo.Status.Phase = v1alpha1.PhaseReady })
	w.Eventually(phase).WithTimeout(testbed.Patience).ShouldNot(HavePrefix("Pending/"),
		"the ready repository wakes the run")
	w.Eventually(func() int { return len(w.Jobs()) }).WithTimeout(testbed.Patience).
		Should(Equal(4), "the run creates its Jobs")

	// A mover reports progress while the controller writes, too.
	snap := w.snapshot("shop-uploads-run")
	for i := range 20 {
		w.apply(snap, i)
	}
	w.Eventually(func() string {
		w.Cluster()
		return phase()
	}).WithTimeout(testbed.Patience).Should(Equal("Succeeded/Succeeded"), "the Jobs ended")
	w.Expect(w.Jobs()).To(HaveLen(4))
	w.Expect(w.snapshots()).To(HaveLen(3))

	s := w.session("run")
	w.Expect(w.Client.Delete(t.Context(), s)).To(Succeed())
	w.Eventually(func() []string { return w.session("run").Finalizers }).WithTimeout(testbed.Patience).
		Should(Equal([]string{v1alpha1.FinalizerRecord}), "an ended run is not cancelled")
	w.Expect(phase()).To(Equal("Succeeded/Succeeded"))

	var pods corev1.PodList
	w.Expect(w.Client.List(t.Context(), &pods, client.InNamespace(w.Namespace),
		client.HasLabels{v1alpha1.LabelBackupSession})).To(Succeed())
	w.Expect(pods.Items).To(HaveLen(4))
}

// apply writes progress as a mover does.
func (w *world) apply(snap *v1alpha1.Snapshot, bytes int) {
	w.T.Helper()
	patch := client.RawPatch(types.ApplyPatchType,
		[]byte(`{"apiVersion":"backup.cairn.dev/v1alpha1","kind":"Snapshot","metadata":{"name":"`+snap.Name+
			`"},"status":{"components":{"pvc":{"phase":"Running","progress":{"bytesDone":`+string(rune('1'+bytes%9))+
			`}}}}}`))
	object := snap.DeepCopy()
	w.Expect(w.Client.Status().Patch(w.T.Context(), object, patch, client.FieldOwner("cairn-mover"),
		client.ForceOwnership)).To(Succeed())
}
