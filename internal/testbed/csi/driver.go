// Package csi plays a CSI driver, together with Kubernetes' volume and snapshot controllers, in tests against an API
// server that has none of them.
//
// A Driver works round by round. The functions do single pieces of its work.
package csi

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Driver makes volumes and VolumeSnapshots. Its fields control its behaviour.
type Driver struct {
	// Error is the error that it reports instead of making a VolumeSnapshot.
	Error string
	// Hang makes it ignore VolumeSnapshots.
	Hang bool
	// Static binds claims to volumes that no provisioner made.
	Static bool
}

// grown is the size of what the driver makes a volume of from a VolumeSnapshot. It is larger than the volume.
const grown = "3Gi"

// Step does the work that there is in a namespace.
func (d *Driver) Step(t testing.TB, c client.Client, namespace string) {
	t.Helper()
	var snapshots snapshotv1.VolumeSnapshotList
	must(t, c.List(t.Context(), &snapshots, client.InNamespace(namespace)))
	exists := map[string]bool{}
	for i := range snapshots.Items {
		exists[string(snapshots.Items[i].UID)] = true
		d.snapshot(t, c, &snapshots.Items[i])
	}
	var contents snapshotv1.VolumeSnapshotContentList
	must(t, c.List(t.Context(), &contents))
	for i := range contents.Items {
		content := &contents.Items[i]
		if ref := content.Spec.VolumeSnapshotRef; ref.Namespace == namespace && !exists[string(ref.UID)] &&
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

// snapshot makes a VolumeSnapshot ready, or reports an error.
func (d *Driver) snapshot(t testing.TB, c client.Client, s *snapshotv1.VolumeSnapshot) {
	t.Helper()
	switch {
	case d.Hang, s.Status != nil && (d.Error != "" || ptr.Deref(s.Status.ReadyToUse, false)):
	case d.Error != "":
		now := metav1.Now()
		s.Status = &snapshotv1.VolumeSnapshotStatus{
			ReadyToUse: new(false), Error: &snapshotv1.VolumeSnapshotError{Time: &now, Message: &d.Error},
		}
		must(t, c.Status().Update(t.Context(), s))
	default:
		ready(t, c, s, grown)
	}
}

// claim binds a claim that a pod names. It releases a deleted claim that no pod names, not even one that has ended.
func (d *Driver) claim(t testing.TB, c client.Client, claim *corev1.PersistentVolumeClaim, pods []corev1.Pod) {
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
		bind(t, c, claim, !d.Static)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
