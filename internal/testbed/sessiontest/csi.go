package sessiontest

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The names of the classes that Driver creates.
const (
	DriverName = "csi.example.com"
	// driverClass is the StorageClass. Its volumes bind to their first consumer.
	driverClass = "csi"
	// driverSnapshotClass is the VolumeSnapshotClass. Its deletionPolicy is Retain.
	driverSnapshotClass = "csi-snapshots"
)

// CSI is a fake driver with the controllers that work with it. Its fields control its behaviour.
type CSI struct {
	// Error is the error that it reports instead of making a snapshot.
	Error string
	// Hang makes it ignore requests for snapshots.
	Hang bool
	// Static binds claims to volumes that no provisioner made.
	Static bool
}

// Driver creates the classes of a CSI driver. Several tests share them.
func Driver(t testing.TB, c client.Client) {
	t.Helper()
	binding := storagev1.VolumeBindingWaitForFirstConsumer
	for _, o := range []client.Object{
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: driverClass}, Provisioner: DriverName, VolumeBindingMode: &binding,
		},
		&snapshotv1.VolumeSnapshotClass{
			ObjectMeta: metav1.ObjectMeta{
				Name:        driverSnapshotClass,
				Annotations: map[string]string{"snapshot.storage.kubernetes.io/is-default-class": "true"},
			},
			Driver: DriverName, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
		},
	} {
		if err := c.Create(t.Context(), o); !apierrors.IsAlreadyExists(err) {
			must(t, err)
		}
	}
}

// OnDriver creates a volume of the driver, and changes a claim that does not exist yet so that it is bound to it.
func OnDriver(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	t.Helper()
	claim.Spec.StorageClassName, claim.Spec.VolumeName = new(driverClass), claim.Namespace+"-"+claim.Name
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
	Create(t, c, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: claim.Status.Capacity, AccessModes: claim.Spec.AccessModes, StorageClassName: driverClass,
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: DriverName, VolumeHandle: claim.Name},
			},
		},
	})
	return claim
}

// work runs the driver and Kubernetes' own volume controllers once.
func (d *CSI) work(t testing.TB, c client.Client, namespace string) {
	t.Helper()
	var snapshots snapshotv1.VolumeSnapshotList
	must(t, c.List(t.Context(), &snapshots, client.InNamespace(namespace)))
	there := map[string]bool{}
	for i := range snapshots.Items {
		there[string(snapshots.Items[i].UID)] = true
		d.snapshot(t, c, &snapshots.Items[i])
	}
	var contents snapshotv1.VolumeSnapshotContentList
	must(t, c.List(t.Context(), &contents))
	for i := range contents.Items {
		content := &contents.Items[i]
		if ref := content.Spec.VolumeSnapshotRef; ref.Namespace == namespace && !there[string(ref.UID)] &&
			content.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
			must(t, client.IgnoreNotFound(c.Delete(t.Context(), content)))
		}
	}
	var claims corev1.PersistentVolumeClaimList
	must(t, c.List(t.Context(), &claims, client.InNamespace(namespace)))
	var pods corev1.PodList
	must(t, c.List(t.Context(), &pods, client.InNamespace(namespace)))
	for i := range claims.Items {
		d.claim(t, c, &claims.Items[i], pods.Items)
	}
}

func (d *CSI) snapshot(t testing.TB, c client.Client, s *snapshotv1.VolumeSnapshot) {
	t.Helper()
	if s.Status != nil && s.Status.ReadyToUse != nil && *s.Status.ReadyToUse || d.Hang {
		return
	}
	now := metav1.NewTime(time.Now())
	if d.Error != "" {
		if s.Status == nil {
			s.Status = &snapshotv1.VolumeSnapshotStatus{
				ReadyToUse: new(false), Error: &snapshotv1.VolumeSnapshotError{Time: &now, Message: &d.Error},
			}
			must(t, c.Status().Update(t.Context(), s))
		}
		return
	}
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "snapcontent-" + string(s.UID)},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{
				APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: "VolumeSnapshot", Namespace: s.Namespace,
				Name: s.Name, UID: s.UID,
			},
			DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: DriverName,
			VolumeSnapshotClassName: s.Spec.VolumeSnapshotClassName,
			Source: snapshotv1.VolumeSnapshotContentSource{
				VolumeHandle: s.Spec.Source.PersistentVolumeClaimName,
			},
		},
	}
	must(t, c.Create(t.Context(), content))
	s.Status = &snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: new(true), BoundVolumeSnapshotContentName: &content.Name, CreationTime: &now,
		RestoreSize: new(resource.MustParse("3Gi")),
	}
	must(t, c.Status().Update(t.Context(), s))
}

// claim binds a claim that a pod names. It releases a deleted claim that no pod names, not even one that has ended.
func (d *CSI) claim(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim, pods []corev1.Pod) {
	t.Helper()
	named := false
	for i := range pods {
		for _, v := range pods[i].Spec.Volumes {
			named = named || v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name
		}
	}
	switch {
	case claim.DeletionTimestamp != nil && !named:
		claim.Finalizers = nil
		must(t, client.IgnoreNotFound(c.Update(t.Context(), claim)))
	case named && claim.Status.Phase != corev1.ClaimBound:
		annotations := map[string]string{"pv.kubernetes.io/provisioned-by": DriverName}
		if d.Static {
			annotations = nil
		}
		bind(t, c, claim, annotations)
	}
}
