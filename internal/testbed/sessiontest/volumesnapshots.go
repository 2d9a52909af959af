package sessiontest

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// The CSI driver of the claims that Disk makes, and its only VolumeSnapshotClass, which is the default. Both exist
// after the first call.
const (
	CSIDriver     = "disk.example.com"
	SnapshotClass = "disk-snapshots"
)

// ClaimOnDisk creates a claim that is bound to a volume of CSIDriver, and the VolumeSnapshotClass for it.
func ClaimOnDisk(
	t testing.TB, c client.Client, namespace, name string, edit ...func(*corev1.PersistentVolume),
) *corev1.PersistentVolumeClaim {
	t.Helper()
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: CSIDriver, VolumeHandle: namespace + "/" + name},
			},
		},
	}
	for _, e := range edit {
		e(volume)
	}
	claim := Claim(namespace, name)
	claim.Spec.VolumeName = volume.Name
	class := &snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        SnapshotClass,
			Annotations: map[string]string{"snapshot.storage.kubernetes.io/is-default-class": "true"},
		},
		Driver: CSIDriver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
	}
	if err := c.Create(t.Context(), class); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create VolumeSnapshotClass: %v", err)
	}
	must(t, c.Create(t.Context(), volume))
	t.Cleanup(func() { _ = c.Delete(t.Context(), volume) })
	Create(t, c, claim)
	return claim
}

// TakeVolumeSnapshots does what the mover of a Job does together with the CSI driver: it creates the VolumeSnapshots of
// the Job's task, each ready and with a content of its own. It returns the mover's report.
func TakeVolumeSnapshots(t testing.TB, c client.Client, job *batchv1.Job) Outcome {
	t.Helper()
	work := TaskOf(job)
	r := &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	for _, component := range work.Components {
		s := volumesnapshot.New(work.Namespace, component.Snapshot.Names[0], component.Snapshot.Claim,
			component.Snapshot.Class, map[string]string{
				v1alpha1.LabelManagedBy:     v1alpha1.ManagedByCairn,
				v1alpha1.LabelSnapshot:      policy.LabelValue(work.Snapshot.Name),
				v1alpha1.LabelBackupSession: work.Snapshot.Labels[v1alpha1.LabelBackupSession],
			}, map[string]string{
				v1alpha1.AnnotationSnapshotUID: string(work.Snapshot.UID), v1alpha1.AnnotationJob: job.Name,
			})
		if err := c.Create(t.Context(), s); apierrors.IsAlreadyExists(err) {
			must(t, c.Get(t.Context(), client.ObjectKeyFromObject(s), s))
		} else {
			must(t, err)
			MakeReady(t, c, s)
		}
		r.Components = append(r.Components, task.ComponentResult{
			Name: component.Name, Outcome: task.OutcomeSucceeded, ID: string(s.UID), SizeBytes: 1 << 30,
		})
	}
	return Outcome{Result: r}
}

// MakeReady does what the CSI driver does for a VolumeSnapshot: it makes it ready and gives it a content, which is
// deleted when the test ends.
func MakeReady(t testing.TB, c client.Client, s *snapshotv1.VolumeSnapshot) *snapshotv1.VolumeSnapshotContent {
	t.Helper()
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "snapcontent-" + string(s.UID)},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{
				Kind: volumesnapshot.Kind, Namespace: s.Namespace, Name: s.Name, UID: s.UID,
			},
			Driver: CSIDriver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
			Source: snapshotv1.VolumeSnapshotContentSource{
				VolumeHandle: new(s.Namespace + "/" + *s.Spec.Source.PersistentVolumeClaimName),
			},
		},
	}
	must(t, c.Create(t.Context(), content))
	t.Cleanup(func() { _ = c.Delete(t.Context(), content) })
	content.Status = &snapshotv1.VolumeSnapshotContentStatus{
		SnapshotHandle: new("handle-" + string(s.UID)), ReadyToUse: new(true),
	}
	must(t, c.Status().Update(t.Context(), content))
	s.Status = &snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: new(true), RestoreSize: new(resource.MustParse("1Gi")),
		BoundVolumeSnapshotContentName: &content.Name, CreationTime: new(metav1.Now()),
	}
	must(t, c.Status().Update(t.Context(), s))
	return content
}
