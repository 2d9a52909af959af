package sessiontest

import (
	"context"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// The StorageClasses that DiskClasses creates.
const (
	// DiskClass binds a claim at once, and LateDiskClass binds it to its first consumer.
	DiskClass     = "disk"
	LateDiskClass = "disk-late"
	// OtherClass has another driver than CSIDriver.
	OtherClass = "other-disk"
)

// DiskClasses creates StorageClasses, which stay after the test.
func DiskClasses(t testing.TB, c client.Client) {
	t.Helper()
	late := storagev1.VolumeBindingWaitForFirstConsumer
	for _, class := range []*storagev1.StorageClass{
		{ObjectMeta: metav1.ObjectMeta{Name: DiskClass}, Provisioner: CSIDriver},
		{ObjectMeta: metav1.ObjectMeta{Name: LateDiskClass}, Provisioner: CSIDriver, VolumeBindingMode: &late},
		{ObjectMeta: metav1.ObjectMeta{Name: OtherClass}, Provisioner: "other.example.com"},
	} {
		if err := c.Create(t.Context(), class); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatalf("create StorageClass: %v", err)
		}
	}
}

// Provision does what the mover of a Job that makes claims does together with the CSI driver, or what the pod that
// mounts them does. It returns the mover's report.
func Provision(t testing.TB, c client.Client, job *batchv1.Job) Outcome {
	t.Helper()
	work := TaskOf(job)
	r := &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	for _, component := range work.Components {
		if component.Claim != nil {
			claim := component.Claim.Object.DeepCopy()
			if err := c.Create(t.Context(), claim); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatalf("create PersistentVolumeClaim: %v", err)
			}
			if component.Claim.Wait {
				Bind(t, c, claim.Namespace, claim.Name)
			}
		}
		r.Components = append(r.Components, task.ComponentResult{Name: component.Name, Outcome: task.OutcomeSucceeded})
	}
	if work.Kind == task.KindVolumeMount {
		for _, v := range job.Spec.Template.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				Bind(t, c, job.Namespace, v.PersistentVolumeClaim.ClaimName)
			}
		}
	}
	return Outcome{Result: r}
}

// Bind gives a claim a volume.
func Bind(t testing.TB, c client.Client, namespace, name string) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, claim))
	bind(t, c, claim, map[string]string{"pv.kubernetes.io/provisioned-by": CSIDriver})
}

// BindStatic gives a claim a volume that no provisioner made for it.
func BindStatic(t testing.TB, c client.Client, namespace, name string) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, claim))
	bind(t, c, claim, nil)
}

// bind binds a claim to a new volume with annotations.
func bind(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim, annotations map[string]string) {
	t.Helper()
	if claim.Spec.VolumeName == "" {
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(claim.UID), Annotations: annotations},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes,
				VolumeMode: claim.Spec.VolumeMode,
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					CSI: &corev1.CSIPersistentVolumeSource{Driver: CSIDriver, VolumeHandle: claim.Name},
				},
			},
		}
		must(t, c.Create(t.Context(), volume))
		t.Cleanup(func() { _ = c.Delete(context.WithoutCancel(t.Context()), volume) })
		claim.Spec.VolumeName = volume.Name
		must(t, c.Update(t.Context(), claim))
	}
	claim.Status.Phase = corev1.ClaimBound
	must(t, c.Status().Update(t.Context(), claim))
}

// MakeImportsReady does what the CSI driver does for those VolumeSnapshots of a namespace whose source is a content.
func MakeImportsReady(t testing.TB, c client.Client, namespace string) {
	t.Helper()
	var list snapshotv1.VolumeSnapshotList
	must(t, c.List(t.Context(), &list, client.InNamespace(namespace)))
	for i := range list.Items {
		s := &list.Items[i]
		if s.Spec.Source.VolumeSnapshotContentName == nil || s.Status != nil {
			continue
		}
		s.Status = &snapshotv1.VolumeSnapshotStatus{
			ReadyToUse: new(true), RestoreSize: new(resource.MustParse("1Gi")),
			BoundVolumeSnapshotContentName: s.Spec.Source.VolumeSnapshotContentName,
		}
		must(t, c.Status().Update(t.Context(), s))
		content := &snapshotv1.VolumeSnapshotContent{}
		must(t, c.Get(t.Context(), client.ObjectKey{Name: *s.Spec.Source.VolumeSnapshotContentName}, content))
		content.Spec.VolumeSnapshotRef.UID = s.UID
		must(t, c.Update(t.Context(), content))
	}
}

// VolumeSnapshotComponent returns the component of a Snapshot that is kept as the VolumeSnapshot of a claim.
func VolumeSnapshotComponent(
	s *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent,
) v1alpha1.Component {
	return v1alpha1.Component{
		Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: string(s.UID),
		VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{
			PVCName: *s.Spec.Source.PersistentVolumeClaimName, VolumeSnapshotName: s.Name,
			VolumeSnapshotContentName: content.Name, Driver: content.Spec.Driver,
			SnapshotHandle: *content.Status.SnapshotHandle, RestoreSize: s.Status.RestoreSize.Value(),
			StorageClassName: DiskClass,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:       corev1.PersistentVolumeFilesystem,
		}},
	}
}
