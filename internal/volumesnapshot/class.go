package volumesnapshot

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// annotationDefaultClass marks the default class of a driver. Kubernetes defines it.
const annotationDefaultClass = "snapshot.storage.kubernetes.io/is-default-class"

// Source is the volume that a VolumeSnapshot is taken of.
type Source struct {
	// Claim of the volume.
	Claim *corev1.PersistentVolumeClaim
	// Volume that the claim is bound to; nil if there is none.
	Volume *corev1.PersistentVolume
	// StorageClass of the claim; nil if there is none.
	StorageClass *storagev1.StorageClass
}

// Driver returns the CSI driver of the volume, or "" if the volume has none.
func (s Source) Driver() string {
	if s.Volume == nil || s.Volume.Spec.CSI == nil {
		return ""
	}
	return s.Volume.Spec.CSI.Driver
}

// ChooseClass returns the VolumeSnapshotClass for a volume: the class that asked names, else that of the claim's
// annotation v1alpha1.AnnotationVolumeSnapshotClass, else that of the same annotation of its StorageClass, else the
// default class of the volume's driver. A named class must exist and belong to that driver. classes holds all classes
// of the cluster.
func ChooseClass(
	source Source, asked string, classes []snapshotv1.VolumeSnapshotClass,
) (*snapshotv1.VolumeSnapshotClass, *v1alpha1.ResolvedError) {
	claim, driver := source.Claim.Name, source.Driver()
	switch {
	case source.Claim.Status.Phase != corev1.ClaimBound || source.Volume == nil:
		return nil, refuse(v1alpha1.ReasonVolumeNotBound,
			"PersistentVolumeClaim %s has no volume yet: there is nothing to take a VolumeSnapshot of", claim)
	case driver == "":
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotsNotSupported,
			"the volume of PersistentVolumeClaim %s has no CSI driver, which a VolumeSnapshot needs. Back its files "+
				"up instead (driver Kopia)", claim)
	}
	name, where := asked, "the parameter volumeSnapshotClassName"
	if name == "" {
		name, where = source.Claim.Annotations[v1alpha1.AnnotationVolumeSnapshotClass], "the annotation "+
			v1alpha1.AnnotationVolumeSnapshotClass+" of the claim"
	}
	if name == "" && source.StorageClass != nil {
		name, where = source.StorageClass.Annotations[v1alpha1.AnnotationVolumeSnapshotClass], "the annotation "+
			v1alpha1.AnnotationVolumeSnapshotClass+" of StorageClass "+source.StorageClass.Name
	}
	if name == "" {
		return defaultClass(claim, driver, classes)
	}
	i := slices.IndexFunc(classes, func(c snapshotv1.VolumeSnapshotClass) bool { return c.Name == name })
	switch {
	case i < 0:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound,
			"there is no VolumeSnapshotClass %s, which %s names for PersistentVolumeClaim %s; %s", name, where, claim,
			known(driver, classes))
	case classes[i].Driver != driver:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound,
			"VolumeSnapshotClass %s, which %s names, belongs to driver %s, but the volume of PersistentVolumeClaim "+
				"%s belongs to driver %s; %s", name, where, classes[i].Driver, claim, driver, known(driver, classes))
	}
	return &classes[i], nil
}

// defaultClass returns the only default class of a driver.
func defaultClass(
	claim, driver string, classes []snapshotv1.VolumeSnapshotClass,
) (*snapshotv1.VolumeSnapshotClass, *v1alpha1.ResolvedError) {
	var found []*snapshotv1.VolumeSnapshotClass
	for i := range classes {
		if classes[i].Driver == driver && classes[i].Annotations[annotationDefaultClass] == "true" {
			found = append(found, &classes[i])
		}
	}
	slices.SortFunc(found, func(a, b *snapshotv1.VolumeSnapshotClass) int { return cmp.Compare(a.Name, b.Name) })
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound,
			"no VolumeSnapshotClass is the default of driver %s, which has the volume of PersistentVolumeClaim %s: "+
				"name one in the task's parameter volumeSnapshotClassName, or annotate one with %s: \"true\"; %s",
			driver, claim, annotationDefaultClass, known(driver, classes))
	default:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound,
			"VolumeSnapshotClasses %s and %s both are the default of driver %s, which has the volume of "+
				"PersistentVolumeClaim %s: name one in the task's parameter volumeSnapshotClassName",
			found[0].Name, found[1].Name, driver, claim)
	}
}

// known lists the classes of a driver, as the end of a refusal.
func known(driver string, classes []snapshotv1.VolumeSnapshotClass) string {
	var names []string
	for _, c := range classes {
		if c.Driver == driver {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "the cluster has no class of that driver"
	}
	return "the classes of that driver are: " + strings.Join(names, ", ")
}

func refuse(reason, format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
