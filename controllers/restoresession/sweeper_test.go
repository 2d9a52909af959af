package restoresession

import (
	"context"
	"sync"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/borrowed"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// holder keeps a content that is being deleted, as the CSI sidecar does until it has finished.
const holder = "test.cairn.dev/holder"

// sweptTotal counts what the sweeps of all tests have removed: each sweep sees the leftovers of all tests.
var sweptTotal = borrowed.NewMetrics(prometheus.NewRegistry())

// sweeping is held by the test that sweeps.
var sweeping sync.Mutex

func (w *world) sweep() {
	w.T.Helper()
	sweeping.Lock()
	defer sweeping.Unlock()
	r := reconciler(w.World)
	s := &borrowed.Sweeper{
		Client: r.Client, APIReader: r.APIReader, EventRecorder: w.Events, FieldManager: r.FieldManager,
		Metrics: sweptTotal,
	}
	w.Expect(s.Sweep(w.T.Context())).To(Succeed())
}

// borrowing creates a restore of two claims from another namespace whose first pods do not exist yet.
func borrowing(t *testing.T) (w *world, ns string) {
	t.Helper()
	w, ns = elsewhere(t)
	w.restore("restore", intoVolumes("late-${POD_ORDINAL}", ofClass(csi.LateClass)), from(ns),
		func(s *v1alpha1.RestoreSession) {
			s.Spec.Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"bind": "false"}`)}
		})
	return w, ns
}

// force removes the finalizers of the restore, as a desperate user does.
func (w *world) force() {
	w.T.Helper()
	s := w.session("restore")
	before := s.DeepCopy()
	s.Finalizers = nil
	w.Expect(w.Client.Patch(w.T.Context(), s, client.MergeFrom(before))).To(Succeed())
}

func TestWhatARestoreLeftBehindIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, deleted := range map[string]bool{"of one that is deleted": true, "of one that has ended": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ns := borrowing(t)
			w.Expect(ending(w.settleVolumes("restore"))).To(Equal("Unknown/VolumeNotBound"))
			w.force()
			if deleted {
				w.Expect(w.Client.Delete(t.Context(), w.session("restore"))).To(Succeed())
			}
			w.sweep()
			_, contents := w.imports()
			w.Expect(contents).To(HaveLen(2), "claims still wait for their volumes from them")

			csi.Bind(t, w.Client, w.Namespace, "late-0")
			w.sweep()
			_, contents = w.imports()
			w.Expect(contents).To(HaveLen(1))
			// With the deletion policy that somebody set, the content would delete the lender's data.
			contents[0].Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete
			contents[0].Finalizers = []string{holder}
			w.Expect(w.Client.Update(t.Context(), &contents[0])).To(Succeed())
			w.Expect(w.Client.Delete(t.Context(), w.claim("late-1"))).To(Succeed())
			w.releaseClaims()
			w.sweep()
			w.Expect(testutil.ToFloat64(sweptTotal.Removed)).To(BeNumerically(">=", 1))
			snapshots, contents := w.imports()
			w.Expect(snapshots).To(BeEmpty())
			w.Expect(contents).To(HaveLen(1))
			w.Expect(contents[0].DeletionTimestamp).NotTo(BeNil())
			w.Expect(contents[0].Spec.DeletionPolicy).To(Equal(snapshotv1.VolumeSnapshotContentRetain))
			contents[0].Finalizers = nil
			w.Expect(w.Client.Update(t.Context(), &contents[0])).To(Succeed())

			var lender snapshotv1.VolumeSnapshotList
			w.Expect(w.Client.List(t.Context(), &lender, client.InNamespace(ns))).To(Succeed())
			w.Expect(lender.Items).To(HaveLen(2), "the lender's VolumeSnapshots still exist")
			w.Expect(lender.Items).To(HaveEach(HaveField("DeletionTimestamp", BeNil())))
		})
	}
}

func TestWhatARestoreStillNeedsIsNotGivenBack(t *testing.T) {
	t.Parallel()
	w, ns := elsewhere(t)
	w.restore("restore", intoVolumes("copy-${POD_ORDINAL}"), from(ns))
	w.Reconcile("restore")
	w.Reconcile("restore")
	before, _ := w.imports()
	w.Expect(before).NotTo(BeEmpty())
	w.sweep()
	w.force() // The restore still works, and adds the finalizer again.
	w.sweep()
	after, contents := w.imports()
	w.Expect(after).To(HaveLen(len(before)))
	w.Expect(contents).To(HaveLen(len(before)))
	w.Expect(contents).To(HaveEach(HaveField("DeletionTimestamp", BeNil())))
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
}

// Labels alone make nothing Cairn's.
func TestContentsOfOthersAreNotGivenBack(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	labels := map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelRestoreSession: "restore",
	}
	made := map[string]string{v1alpha1.AnnotationRestoreSession: "uid-of-none"}
	content := func(
		name string, annotations map[string]string, refers string, source snapshotv1.VolumeSnapshotContentSource,
	) *snapshotv1.VolumeSnapshotContent {
		return &snapshotv1.VolumeSnapshotContent{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations},
			Spec: snapshotv1.VolumeSnapshotContentSpec{
				VolumeSnapshotRef: corev1.ObjectReference{Namespace: w.Namespace, Name: refers}, Driver: csi.DriverName,
				DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete, Source: source,
			},
		}
	}
	handle := snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("handle-theirs")}
	volume := snapshotv1.VolumeSnapshotContentSource{VolumeHandle: new("volume-theirs")}
	prefix := "cairn-import-" + w.Namespace
	for _, c := range []*snapshotv1.VolumeSnapshotContent{
		content(w.Namespace+"-theirs", made, w.Namespace+"-theirs", handle),
		content(prefix+"-unmarked", nil, prefix+"-unmarked", handle),
		content(prefix+"-elsewhere", made, "theirs", handle),
		content(prefix+"-taken", made, prefix+"-taken", volume),
	} {
		w.Expect(w.Client.Create(t.Context(), c)).To(Succeed())
		t.Cleanup(func() { _ = w.Client.Delete(context.Background(), c) })
	}
	foreign := &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: prefix + "-mine", Labels: labels, Annotations: made,
		},
		Spec: snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{
			PersistentVolumeClaimName: new("mine"),
		}},
	}
	sessiontest.Create(t, w.Client, foreign)
	w.sweep()
	_, contents := w.imports()
	w.Expect(contents).To(HaveLen(4))
	w.Expect(contents).To(HaveEach(HaveField("Spec.DeletionPolicy", snapshotv1.VolumeSnapshotContentDelete)),
		"the sweep did not touch them")
	w.Get(foreign.Name, foreign)
	w.Expect(foreign.DeletionTimestamp).To(BeNil())
}
