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

// annotationDefaultClass marks the class of its driver that is taken where none is named (from Kubernetes).
const annotationDefaultClass = "snapshot.storage.kubernetes.io/is-default-class"

// Source is a volume that a VolumeSnapshot is made of.
type Source struct {
	// Claim of the volume.
	Claim *corev1.PersistentVolumeClaim
	// Volume that the claim is bound to; nil where there is none.
	Volume *corev1.PersistentVolume
	// StorageClass of the claim; nil where there is none.
	StorageClass *storagev1.StorageClass
}

// Driver is the CSI driver of the volume, "" for one that is not CSI's.
func (s Source) Driver() string {
	if s.Volume == nil || s.Volume.Spec.CSI == nil {
		return ""
	}
	return s.Volume.Spec.CSI.Driver
}

// ChooseClass is the VolumeSnapshotClass for a volume: the one that asked names, else that of the claim's annotation
// v1alpha1.AnnotationVolumeSnapshotClass, else that of its StorageClass, else the default one of the volume's driver. One that is named
// must be there and of that driver. classes are all of the cluster.
func ChooseClass(source Source, asked string, classes []snapshotv1.VolumeSnapshotClass) (*snapshotv1.VolumeSnapshotClass, *v1alpha1.ResolvedError) {
	claim, driver := source.Claim.Name, source.Driver()
	switch {
	case source.Claim.Status.Phase != corev1.ClaimBound || source.Volume == nil:
		return nil, refuse(v1alpha1.ReasonVolumeNotBound, "PersistentVolumeClaim %s has no volume yet: nothing can be taken of it", claim)
	case driver == "":
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotsNotSupported, "the volume of PersistentVolumeClaim %s is not of a CSI driver: only these make VolumeSnapshots. Back its files up instead (driver Kopia)", claim)
	}
	name, where := asked, "the parameter volumeSnapshotClassName"
	if name == "" {
		name, where = source.Claim.Annotations[v1alpha1.AnnotationVolumeSnapshotClass], "the annotation "+v1alpha1.AnnotationVolumeSnapshotClass+" of the claim"
	}
	if name == "" && source.StorageClass != nil {
		name, where = source.StorageClass.Annotations[v1alpha1.AnnotationVolumeSnapshotClass], "the annotation "+v1alpha1.AnnotationVolumeSnapshotClass+" of StorageClass "+source.StorageClass.Name
	}
	if name == "" {
		return defaultClass(claim, driver, classes)
	}
	i := slices.IndexFunc(classes, func(c snapshotv1.VolumeSnapshotClass) bool { return c.Name == name })
	switch {
	case i < 0:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound, "there is no VolumeSnapshotClass %s, which %s names for PersistentVolumeClaim %s; %s", name, where, claim, known(driver, classes))
	case classes[i].Driver != driver:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound, "VolumeSnapshotClass %s, which %s names, is of driver %s, and the volume of PersistentVolumeClaim %s of %s; %s", name, where, classes[i].Driver, claim, driver, known(driver, classes))
	}
	return &classes[i], nil
}

// defaultClass is the only default class of a driver.
func defaultClass(claim, driver string, classes []snapshotv1.VolumeSnapshotClass) (*snapshotv1.VolumeSnapshotClass, *v1alpha1.ResolvedError) {
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
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound, "no VolumeSnapshotClass is the default of driver %s, which has the volume of PersistentVolumeClaim %s: name one in the task's parameter volumeSnapshotClassName, or annotate one with %s: \"true\"; %s",
			driver, claim, annotationDefaultClass, known(driver, classes))
	default:
		return nil, refuse(v1alpha1.ReasonVolumeSnapshotClassNotFound, "VolumeSnapshotClasses %s and %s both are the default of driver %s, which has the volume of PersistentVolumeClaim %s: name one in the task's parameter volumeSnapshotClassName",
			found[0].Name, found[1].Name, driver, claim)
	}
}

// known ends a refusal: it says which classes there are.
func known(driver string, classes []snapshotv1.VolumeSnapshotClass) string {
	var names []string
	for _, c := range classes {
		if c.Driver == driver {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "the cluster has none for that driver"
	}
	return "of that driver there are: " + strings.Join(names, ", ")
}

func refuse(reason, format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
