package restoresession

import (
	"context"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// elsewhere creates a namespace with the Snapshot shots, which the world is allowed to restore.
func elsewhere(t testing.TB) (*world, string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "source-"}}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), ns)).To(Succeed())
	return newVolumes(t, ns.Name), ns.Name
}

func from(namespace string) func(*v1alpha1.RestoreSession) {
	return func(s *v1alpha1.RestoreSession) { s.Spec.DataSource.Namespace = namespace }
}

// imports returns the VolumeSnapshots and contents that restores of the world have created.
func (w *world) imports() ([]snapshotv1.VolumeSnapshot, []snapshotv1.VolumeSnapshotContent) {
	w.T.Helper()
	var snapshots snapshotv1.VolumeSnapshotList
	w.Expect(w.Client.List(w.T.Context(), &snapshots, client.InNamespace(w.Namespace))).To(Succeed())
	var all snapshotv1.VolumeSnapshotContentList
	w.Expect(w.Client.List(w.T.Context(), &all, client.HasLabels{v1alpha1.LabelRestoreSession})).To(Succeed())
	var contents []snapshotv1.VolumeSnapshotContent
	for _, c := range all.Items {
		if c.Spec.VolumeSnapshotRef.Namespace == w.Namespace {
			contents = append(contents, c)
		}
	}
	return snapshots.Items, contents
}

func TestVolumeSnapshotsOfAnotherNamespaceAreLent(t *testing.T) {
	t.Parallel()
	w, ns := elsewhere(t)
	w.restore("restore", intoVolumes("copy-${POD_ORDINAL}"), from(ns))
	w.Reconcile("restore")
	w.Reconcile("restore")
	snapshots, contents := w.imports()
	w.Expect(w.Jobs()).To(BeEmpty(), "nothing is ready yet")
	w.Expect(snapshots).NotTo(BeEmpty())
	w.Expect(contents).To(HaveLen(len(snapshots)))
	for _, c := range contents {
		w.Expect(c.Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentRetain), "the lender's snapshot stays")
		w.Expect(*c.Spec.Source.SnapshotHandle).To(HavePrefix("handle-"))
		w.Expect(*c.Spec.SourceVolumeMode).To(Equal(corev1.PersistentVolumeFilesystem))
	}
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	name := w.claim("copy-0").Spec.DataSource.Name
	w.Expect(name).To(HavePrefix("cairn-import-"))
	snapshots, contents = w.imports()
	w.Expect(snapshots).To(BeEmpty())
	w.Expect(contents).To(BeEmpty())
}

func TestVolumeSnapshotsOfAnotherNamespaceNeedConsent(t *testing.T) {
	t.Parallel()
	w, ns := elsewhere(t)
	var repo v1alpha1.Repository
	w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "disks"}, &repo)).To(Succeed())
	repo.Annotations = nil
	w.Expect(w.Client.Update(t.Context(), &repo)).To(Succeed())
	w.restore("restore", intoVolumes("copy-${POD_ORDINAL}"), from(ns))
	w.Expect(ending(w.settleVolumes("restore"))).To(Equal("Failed/RestoreNotAllowed"))
	snapshots, contents := w.imports()
	w.Expect(snapshots).To(BeEmpty())
	w.Expect(contents).To(BeEmpty())
}

// Somebody who can write the status of a VolumeSnapshot gets no foreign content by naming it there.
func TestAForgedBindingLendsNothing(t *testing.T) {
	t.Parallel()
	w, ns := elsewhere(t)
	foreign := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "foreign-" + ns},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "tenant", Name: "theirs", UID: "theirs"},
			Driver:            csi.DriverName,
			DeletionPolicy:    snapshotv1.VolumeSnapshotContentRetain,
			Source:            snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("handle-theirs")},
		},
	}
	w.Expect(w.Client.Create(t.Context(), foreign)).To(Succeed())
	t.Cleanup(func() { _ = w.Client.Delete(context.Background(), foreign) })
	var all snapshotv1.VolumeSnapshotList
	w.Expect(w.Client.List(t.Context(), &all, client.InNamespace(ns))).To(Succeed())
	w.Expect(all.Items).NotTo(BeEmpty())
	for i := range all.Items {
		all.Items[i].Status.BoundVolumeSnapshotContentName = &foreign.Name
		w.Expect(w.Client.Status().Update(t.Context(), &all.Items[i])).To(Succeed())
	}
	w.restore("restore", intoVolumes("copy-${POD_ORDINAL}"), from(ns))
	for range 3 {
		w.Reconcile("restore")
	}
	w.Expect(ending(w.session("restore"))).To(Equal("Pending/VolumeSnapshotNotReady"))
	snapshots, contents := w.imports()
	w.Expect(snapshots).To(BeEmpty())
	w.Expect(contents).To(BeEmpty())
}

// A claim that gets its volume later still needs the imported VolumeSnapshot.
func TestWhatWasLentStaysUntilTheVolumeIsMade(t *testing.T) {
	t.Parallel()
	w, ns := elsewhere(t)
	w.restore("restore", intoVolumes("late-${POD_ORDINAL}", ofClass(csi.LateClass)), from(ns),
		func(s *v1alpha1.RestoreSession) {
			s.Spec.Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"bind": "false"}`)}
		})
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Unknown/VolumeNotBound"), message(s))
	w.Expect(s.Finalizers).To(ContainElement(v1alpha1.FinalizerCancel))
	_, contents := w.imports()
	w.Expect(contents).To(HaveLen(2))

	csi.Bind(t, w.Client, w.Namespace, "late-0")
	w.Expect(w.Reconcile("restore").RequeueAfter).To(Equal(importInterval))
	_, contents = w.imports()
	w.Expect(contents).To(HaveLen(1))
	w.Expect(w.Client.Delete(t.Context(), w.claim("late-1"))).To(Succeed())
	w.releaseClaims()
	w.Reconcile("restore")
	_, contents = w.imports()
	w.Expect(contents).To(BeEmpty())
	w.Expect(w.session("restore").Finalizers).NotTo(ContainElement(v1alpha1.FinalizerCancel))
}

func TestWhatIsNeverReadyIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	w, ns := elsewhere(t)
	w.restore("restore", intoVolumes("copy-${POD_ORDINAL}"), from(ns))
	w.Reconcile("restore")
	w.Reconcile("restore")
	snapshots, _ := w.imports()
	w.Expect(snapshots).NotTo(BeEmpty())
	for range 5 {
		w.Reconcile("restore")
	}
	w.Clock.SetTime(w.Clock.Now().Add(20 * time.Minute))
	for range 5 {
		w.Reconcile("restore")
	}
	s := w.session("restore")
	w.Expect(ending(s)).To(Equal("Failed/VolumeSnapshotNotReady"), message(s))
	snapshots, contents := w.imports()
	w.Expect(snapshots).To(BeEmpty())
	w.Expect(contents).To(BeEmpty())
}

func TestAManagerThatIsKilledMakesVolumesOnce(t *testing.T) {
	t.Parallel()
	for name, killer := range sessiontest.KillPoints(40) { // more than the number of writes
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ns := elsewhere(t)
			w.Killer = killer
			w.Expect(w.Client.Create(t.Context(), sessiontest.Claim(w.Namespace, "copy-0"))).To(Succeed())
			old := w.claim("copy-0")
			w.restore("restore", intoVolumes("copy-${POD_ORDINAL}", ofClass(csi.LateClass),
				func(t *v1alpha1.RestoreClaimTemplate) {
					t.Metadata.Annotations = map[string]string{v1alpha1.AnnotationReplace: string(old.UID)}
				}), from(ns))
			s := w.settleVolumes("restore")
			w.Reconcile("restore")
			w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
			w.Expect(w.Jobs()).To(HaveLen(4))
			w.Expect(w.claim("copy-0").UID).NotTo(Equal(old.UID))
			w.Expect(w.claim("copy-1").Annotations).
				To(HaveKeyWithValue(v1alpha1.AnnotationRestored, HavePrefix(s.Status.Resolved.SpecDigest+"/")))
			snapshots, contents := w.imports()
			w.Expect(snapshots).To(BeEmpty())
			w.Expect(contents).To(BeEmpty())
			var lender snapshotv1.VolumeSnapshotList
			w.Expect(w.Client.List(t.Context(), &lender, client.InNamespace(ns))).To(Succeed())
			w.Expect(lender.Items).To(HaveLen(2), "the lender's VolumeSnapshots still exist")
		})
	}
}
