package workload

import (
	"cmp"
	"fmt"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// Copies is the input from which the copies of a target's volumes are resolved.
type Copies struct {
	// Run is the UID of the BackupSession.
	Run types.UID
	// Target is the name of the target in the run.
	Target string
	// Settings are those of the session. Their CopyMethod must be one that copies.
	Settings v1alpha1.CopySettings
	// Sources are the target's volumes, by the name of their claim.
	Sources map[string]volumesnapshot.Source
	// StorageClasses holds the StorageClasses of the claims and the one of Settings, by name.
	StorageClasses map[string]*storagev1.StorageClass
	// Classes are all VolumeSnapshotClasses of the cluster. Only CopySnapshot needs them.
	Classes []snapshotv1.VolumeSnapshotClass
}

// ClaimsOf returns the claims that hosts read, each once, in their order.
func ClaimsOf(hosts []v1alpha1.ResolvedHost) []string {
	var out []string
	for i := range hosts {
		for _, v := range hosts[i].Volumes {
			if v.ClaimName != "" && !slices.Contains(out, v.ClaimName) {
				out = append(out, v.ClaimName)
			}
		}
	}
	return out
}

// ResolveCopies returns the temporary volumes that the Jobs of hosts read, one for each claim. The result depends only
// on the arguments.
func ResolveCopies(hosts []v1alpha1.ResolvedHost, c Copies) ([]v1alpha1.ResolvedCopy, *v1alpha1.ResolvedError) {
	var out []v1alpha1.ResolvedCopy
	for _, claim := range ClaimsOf(hosts) {
		resolved, err := c.of(claim)
		if err != nil {
			return nil, err
		}
		out = append(out, *resolved)
	}
	return out, nil
}

// of resolves the copy of one claim.
func (c *Copies) of(claim string) (*v1alpha1.ResolvedCopy, *v1alpha1.ResolvedError) {
	source := c.Sources[claim]
	if source.Claim == nil || source.Claim.Status.Phase != corev1.ClaimBound || source.Volume == nil {
		return nil, Fail(v1alpha1.ReasonVolumeNotBound,
			"PersistentVolumeClaim %s is not bound to a volume: there is nothing to copy yet", claim)
	}
	if source.Driver() == "" {
		return nil, Fail(v1alpha1.ReasonVolumeSnapshotsNotSupported,
			"the volume of PersistentVolumeClaim %s has no CSI driver, and only a CSI driver can copy it: leave "+
				"copyMethod out", claim)
	}
	settings := ptr.Deref(c.Settings.CopyVolume, v1alpha1.CopyVolume{})
	out := &v1alpha1.ResolvedCopy{
		ClaimName: claim, Name: policy.CopyName(string(c.Run), c.Target, claim), Size: copySize(source),
		AccessModes: slices.Clone(settings.AccessModes),
	}
	if c.Settings.CopyMethod == v1alpha1.CopySnapshot {
		class, err := volumesnapshot.ChooseClass(source, settings.VolumeSnapshotClassName, c.Classes)
		if err != nil {
			return nil, err
		}
		out.VolumeSnapshotClassName = class.Name
	}
	class, err := c.storageClass(source, settings.StorageClassName)
	if err != nil {
		return nil, err
	}
	out.StorageClassName, out.Immediate = class.Name,
		ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingImmediate
	if len(out.AccessModes) == 0 {
		out.AccessModes = copyAccessModes(source.Claim)
	}
	return out, nil
}

// storageClass returns the StorageClass of the temporary claim. It must have the driver of the volume, because no other
// driver knows the data.
func (c *Copies) storageClass(
	source volumesnapshot.Source, asked string,
) (*storagev1.StorageClass, *v1alpha1.ResolvedError) {
	name := cmp.Or(asked, ptr.Deref(source.Claim.Spec.StorageClassName, ""))
	class := c.StorageClasses[name]
	switch {
	case name == "":
		return nil, Fail(v1alpha1.ReasonStorageClassNotFound,
			"PersistentVolumeClaim %s has no StorageClass for a copy: name one of driver %s in "+
				"copyVolume.storageClassName", source.Claim.Name, source.Driver())
	case class == nil:
		return nil, Fail(v1alpha1.ReasonStorageClassNotFound,
			"there is no StorageClass %s for a copy of PersistentVolumeClaim %s: name one of driver %s in "+
				"copyVolume.storageClassName", name, source.Claim.Name, source.Driver())
	case class.Provisioner != source.Driver():
		return nil, Fail(v1alpha1.ReasonStorageClassNotFound,
			"StorageClass %s has driver %s, but only driver %[4]s can copy the volume of PersistentVolumeClaim "+
				"%[3]s: name a StorageClass of that driver in copyVolume.storageClassName",
			name, class.Provisioner, source.Claim.Name, source.Driver())
	}
	return class, nil
}

// copySize returns the present size of a volume. Drivers refuse to make a smaller copy.
func copySize(source volumesnapshot.Source) resource.Quantity {
	size := source.Volume.Spec.Capacity[corev1.ResourceStorage]
	if other := source.Claim.Status.Capacity[corev1.ResourceStorage]; other.Cmp(size) > 0 {
		size = other
	}
	if size.IsZero() {
		size = source.Claim.Spec.Resources.Requests[corev1.ResourceStorage]
	}
	return size
}

// copyAccessModes returns the access modes for the copy of a claim. ReadWriteOncePod becomes ReadWriteOnce, because the
// movers of several Repositories read the copy at once.
func copyAccessModes(claim *corev1.PersistentVolumeClaim) []corev1.PersistentVolumeAccessMode {
	var out []corev1.PersistentVolumeAccessMode
	for _, mode := range claim.Spec.AccessModes {
		if mode == corev1.ReadWriteOncePod {
			mode = corev1.ReadWriteOnce
		}
		if !slices.Contains(out, mode) {
			out = append(out, mode)
		}
	}
	return out
}

// checkForCopies refuses volumes that can't be copied, and lets the Jobs run on any node, because nothing else uses the
// copies.
func checkForCopies(hosts []v1alpha1.ResolvedHost) *v1alpha1.ResolvedError {
	for i := range hosts {
		hosts[i].Node = ""
		for _, v := range hosts[i].Volumes {
			if v.HostPath != "" {
				return Fail(v1alpha1.ReasonCopyNotPossible,
					"component %s is the host path %s, which can't be copied: choose other volumes with the "+
						"parameter paths, or leave copyMethod out", v.Component, v.HostPath)
			}
		}
	}
	return nil
}

// RenameCopies renames the copies of a frozen target for another run.
func RenameCopies(frozen *v1alpha1.ResolvedTarget, run types.UID) {
	for i := range frozen.Copies {
		frozen.Copies[i].Name = policy.CopyName(string(run), frozen.Name, frozen.Copies[i].ClaimName)
	}
}

// ReadsCopies reports whether Jobs of a frozen run read copies.
func ReadsCopies(s *v1alpha1.BackupSession) bool {
	return s.Status.Resolved != nil && slices.ContainsFunc(
		s.Status.Resolved.Targets, func(t v1alpha1.ResolvedTarget) bool { return len(t.Copies) > 0 })
}

// DescribeCopy names a copy in messages.
func DescribeCopy(c *v1alpha1.ResolvedCopy) string {
	return fmt.Sprintf("the copy of PersistentVolumeClaim %s", c.ClaimName)
}
