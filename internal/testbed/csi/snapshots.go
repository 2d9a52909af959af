package csi

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// full is the size of what a volume of 1 GiB is in a VolumeSnapshot.
const full = "1Gi"

// Ready makes a VolumeSnapshot ready and gives it a content.
func Ready(t testing.TB, c client.Client, s *snapshotv1.VolumeSnapshot) *snapshotv1.VolumeSnapshotContent {
	t.Helper()
	return ready(t, c, s, full)
}

func ready(
	t testing.TB, c client.Client, s *snapshotv1.VolumeSnapshot, size string,
) *snapshotv1.VolumeSnapshotContent {
	t.Helper()
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "snapcontent-" + string(s.UID)},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{
				APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: volumesnapshot.Kind, Namespace: s.Namespace,
				Name: s.Name, UID: s.UID,
			},
			Driver: DriverName, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
			VolumeSnapshotClassName: s.Spec.VolumeSnapshotClassName,
			Source: snapshotv1.VolumeSnapshotContentSource{
				VolumeHandle: new(s.Namespace + "/" + *s.Spec.Source.PersistentVolumeClaimName),
			},
		},
	}
	create(t, c, content)
	content.Status = &snapshotv1.VolumeSnapshotContentStatus{
		SnapshotHandle: new("handle-" + string(s.UID)), ReadyToUse: new(true),
	}
	must(t, c.Status().Update(t.Context(), content))
	s.Status = &snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: new(true), RestoreSize: new(resource.MustParse(size)),
		BoundVolumeSnapshotContentName: &content.Name, CreationTime: new(metav1.Now()),
	}
	must(t, c.Status().Update(t.Context(), s))
	return content
}

// ReadyImports makes those VolumeSnapshots of a namespace ready whose source is a content.
func ReadyImports(t testing.TB, c client.Client, namespace string) {
	t.Helper()
	var list snapshotv1.VolumeSnapshotList
	must(t, c.List(t.Context(), &list, client.InNamespace(namespace)))
	for i := range list.Items {
		s := &list.Items[i]
		if s.Spec.Source.VolumeSnapshotContentName == nil || s.Status != nil {
			continue
		}
		s.Status = &snapshotv1.VolumeSnapshotStatus{
			ReadyToUse: new(true), RestoreSize: new(resource.MustParse(full)),
			BoundVolumeSnapshotContentName: s.Spec.Source.VolumeSnapshotContentName,
		}
		must(t, c.Status().Update(t.Context(), s))
		content := &snapshotv1.VolumeSnapshotContent{}
		must(t, c.Get(t.Context(), client.ObjectKey{Name: *s.Spec.Source.VolumeSnapshotContentName}, content))
		content.Spec.VolumeSnapshotRef.UID = s.UID
		must(t, c.Update(t.Context(), content))
	}
}
