package destination

import (
	"cmp"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload"
)

// SnapshotState is the present state of a VolumeSnapshot and of what belongs to it.
type SnapshotState struct {
	// Snapshot is the VolumeSnapshot, nil where it does not exist.
	Snapshot *snapshotv1.VolumeSnapshot
	// Content is the content to which it is bound, nil where there is none.
	Content *snapshotv1.VolumeSnapshotContent
	// Claim is the claim from which it was made, nil where that claim no longer exists.
	Claim *corev1.PersistentVolumeClaim
}

// ClaimSources is what is known about the sources of new claims.
type ClaimSources struct {
	// Restore is the UID of the RestoreSession.
	Restore types.UID
	// Elsewhere means that the VolumeSnapshots are in another namespace than the restore.
	Elsewhere bool
	// Bind means that the restore provides a consumer for claims whose volume waits for one.
	Bind bool
	// Snapshots holds the VolumeSnapshots by name.
	Snapshots map[string]SnapshotState
	// StorageClasses are those of the cluster.
	StorageClasses []storagev1.StorageClass
}

// ResolveClaims returns how each planned claim is made, and in which Job. If it returns an error, no claim is made.
// ReplaceClaims checks whether their names are free.
func ResolveClaims(
	t Target, plan []PlannedClaim, known ClaimSources,
) ([]v1alpha1.ResolvedRestoreHost, *v1alpha1.ResolvedError) {
	context, err := workload.SecurityContextOfRestore(t.Job, t.Privileged)
	if err != nil {
		return nil, err
	}
	var hosts []v1alpha1.ResolvedRestoreHost
	for _, p := range plan {
		found := known.Snapshots[p.VolumeSnapshot]
		if err := usableSnapshot(p, found); err != nil {
			return nil, err
		}
		provision, err := known.provision(p, &t.Templates[p.Template-1], found)
		if err != nil {
			return nil, err
		}
		v := v1alpha1.ResolvedRestoreVolume{
			Component: p.Component, Source: p.Source, ID: string(found.Snapshot.UID), ClaimName: p.Claim,
			Template: p.Template, Provision: provision,
		}
		at := slices.IndexFunc(hosts, func(h v1alpha1.ResolvedRestoreHost) bool { return h.Name == p.Host })
		if at < 0 {
			at = len(hosts)
			hosts = append(hosts, v1alpha1.ResolvedRestoreHost{Name: p.Host, SecurityContext: context})
		}
		hosts[at].Volumes = append(hosts[at].Volumes, v)
	}
	return hosts, nil
}

// usableSnapshot explains why no claim can be made from a VolumeSnapshot. Nil means that one can.
func usableSnapshot(p PlannedClaim, found SnapshotState) *v1alpha1.ResolvedError {
	s := found.Snapshot
	switch {
	case s == nil:
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotFound,
			"there is no VolumeSnapshot %s for PersistentVolumeClaim %s",
			p.VolumeSnapshot, p.Claim)
	case p.UID != "" && s.UID != p.UID:
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotFound,
			"VolumeSnapshot %s is not the one that was backed up as component %s: somebody replaced it",
			p.VolumeSnapshot, cmp.Or(p.Source, p.Component))
	case s.DeletionTimestamp != nil:
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotFound, "VolumeSnapshot %s is being deleted",
			p.VolumeSnapshot)
	}
	if message, _ := volumesnapshot.Failure(s); message != "" {
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotReady, "VolumeSnapshot %s can't be used: %s",
			p.VolumeSnapshot,
			message)
	}
	if !volumesnapshot.Ready(s) || found.Content == nil || volumesnapshot.Handle(found.Content) == "" {
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotReady, "VolumeSnapshot %s is not ready to use",
			p.VolumeSnapshot)
	}
	stats := ptr.Deref(p.Stats, v1alpha1.VolumeSnapshotterStats{})
	if again := volumesnapshot.TakenAgain(stats, found.Content); again != "" {
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotFound,
			"VolumeSnapshot %s no longer holds the snapshot that was backed up: %s. Somebody replaced "+
				"VolumeSnapshotContent %s: restore another Snapshot",
			p.VolumeSnapshot, again, found.Content.Name)
	}
	return nil
}

// provision fills in what a template leaves out, and refuses what can't be made from the VolumeSnapshot.
func (known *ClaimSources) provision(
	p PlannedClaim, t *v1alpha1.RestoreClaimTemplate, found SnapshotState,
) (*v1alpha1.ResolvedProvision, *v1alpha1.ResolvedError) {
	stats := ptr.Deref(p.Stats, v1alpha1.VolumeSnapshotterStats{})
	if p.Stats == nil && found.Claim != nil {
		stats = volumesnapshot.Stats(found.Snapshot, found.Content, found.Claim, "")
	}
	out := &v1alpha1.ResolvedProvision{VolumeSnapshot: p.VolumeSnapshot, AccessModes: t.Spec.AccessModes}
	if t.Spec.Selector != nil {
		return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: labels can't choose a volume that is made from a VolumeSnapshot: leave selector "+
				"out", t.Metadata.Name)
	}
	var err *v1alpha1.ResolvedError
	if out.Storage, err = claimSize(p, t, found.Snapshot, stats.RestoreSize); err != nil {
		return nil, err
	}
	if out.VolumeMode, err = volumeMode(p, t, found.Content, stats.VolumeMode); err != nil {
		return nil, err
	}
	if len(out.AccessModes) == 0 {
		out.AccessModes = stats.AccessModes
	}
	if len(out.AccessModes) == 0 {
		return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: the access modes of PersistentVolumeClaim %s are not known: set accessModes",
			t.Metadata.Name, p.Claim)
	}
	class, err := known.classOf(p, t, found.Content.Spec.Driver, stats.StorageClassName)
	if err != nil {
		return nil, err
	}
	out.StorageClassName, out.Binding = &class.Name, v1alpha1.BindImmediate
	mode := ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate)
	if mode == storagev1.VolumeBindingWaitForFirstConsumer {
		out.Binding = v1alpha1.BindLater
		if known.Bind {
			out.Binding = v1alpha1.BindConsumer
		}
	}
	if known.Elsewhere {
		out.Import = &v1alpha1.ResolvedImport{
			VolumeSnapshot: p.VolumeSnapshot, Driver: found.Content.Spec.Driver,
			SnapshotHandle: volumesnapshot.Handle(found.Content),
			ClassName:      ptr.Deref(found.Content.Spec.VolumeSnapshotClassName, ""),
		}
		out.VolumeSnapshot = policy.ImportName(known.Restore, found.Snapshot.UID)
	}
	return out, nil
}

// claimSize returns the size that a template asks for. It is never less than the size of the VolumeSnapshot.
func claimSize(
	p PlannedClaim, t *v1alpha1.RestoreClaimTemplate, s *snapshotv1.VolumeSnapshot, recorded int64,
) (resource.Quantity, *v1alpha1.ResolvedError) {
	least := *resource.NewQuantity(recorded, resource.BinarySI)
	if now := s.Status.RestoreSize; now != nil && now.Cmp(least) > 0 {
		least = now.DeepCopy()
	}
	size, asked := t.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case asked && size.Cmp(least) < 0:
		return size, workload.Fail(v1alpha1.ReasonVolumeTooSmall,
			"volumeClaimTemplate %q asks for %s, but a volume of VolumeSnapshot %s needs at least %s: ask for that, "+
				"or leave resources.requests.storage out",
			t.Metadata.Name, size.String(), p.VolumeSnapshot, least.String())
	case asked:
		return size, nil
	case least.IsZero():
		return size, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: VolumeSnapshot %s does not say how large its volume must be: set "+
				"resources.requests.storage", t.Metadata.Name, p.VolumeSnapshot)
	}
	return least, nil
}

// volumeMode returns the mode of the snapshotted volume, because Kubernetes never changes it.
func volumeMode(
	p PlannedClaim, t *v1alpha1.RestoreClaimTemplate, content *snapshotv1.VolumeSnapshotContent,
	recorded corev1.PersistentVolumeMode,
) (corev1.PersistentVolumeMode, *v1alpha1.ResolvedError) {
	was := recorded
	if was == "" && content.Spec.SourceVolumeMode != nil {
		was = *content.Spec.SourceVolumeMode
	}
	asked := ptr.Deref(t.Spec.VolumeMode, "")
	if asked != "" && was != "" && asked != was {
		return "", workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q has volumeMode %s, but the volume of VolumeSnapshot %s had %s: leave volumeMode "+
				"out", t.Metadata.Name, asked, p.VolumeSnapshot, was)
	}
	return cmp.Or(asked, was, corev1.PersistentVolumeFilesystem), nil
}

// annotationDefaultStorageClass is the annotation of Kubernetes that marks the StorageClass of claims that name none.
const annotationDefaultStorageClass = "storageclass.kubernetes.io/is-default-class"

// classOf returns the StorageClass of a claim: the one that the template names, or else that of the backed-up claim, or
// else the default one. It must have the driver of the VolumeSnapshot, because no other driver can read the
// VolumeSnapshot.
func (known *ClaimSources) classOf(
	p PlannedClaim, t *v1alpha1.RestoreClaimTemplate, driver, recorded string,
) (*storagev1.StorageClass, *v1alpha1.ResolvedError) {
	name, where := recorded, "the claim that was snapshotted had"
	if t.Spec.StorageClassName != nil {
		name, where = *t.Spec.StorageClassName, "the template names"
	}
	var of []string
	var class, standard *storagev1.StorageClass
	for i := range known.StorageClasses {
		c := &known.StorageClasses[i]
		if c.Provisioner == driver {
			of = append(of, c.Name)
		}
		if c.Name == name {
			class = c
		}
		// If several are default, Kubernetes takes the newest.
		if c.Annotations[annotationDefaultStorageClass] == "true" &&
			(standard == nil || standard.CreationTimestamp.Before(&c.CreationTimestamp)) {
			standard = c
		}
	}
	if name == "" && t.Spec.StorageClassName == nil {
		class, where = standard, "is the default one of the cluster"
	}
	slices.Sort(of)
	choice := "the cluster has none"
	if len(of) > 0 {
		choice = "the cluster has: " + strings.Join(of, ", ")
	}
	switch {
	case class == nil:
		return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: there is no StorageClass %q, which %s: set storageClassName for "+
				"PersistentVolumeClaim %s to one of driver %s (%s)",
			t.Metadata.Name, name, where, p.Claim, driver, choice)
	case class.Provisioner != driver:
		return nil, workload.Fail(v1alpha1.ReasonInvalidParameters,
			"volumeClaimTemplate %q: StorageClass %s has driver %s, which can't read VolumeSnapshot %s: name one of "+
				"driver %s (%s)",
			t.Metadata.Name, class.Name, class.Provisioner, p.VolumeSnapshot, driver, choice)
	}
	return class, nil
}

// ReplaceClaims refuses names that are in use, and notes which existing claims the templates allow to be replaced.
func ReplaceClaims(hosts []v1alpha1.ResolvedRestoreHost, t Target) *v1alpha1.ResolvedError {
	for i := range hosts {
		for j := range hosts[i].Volumes {
			v := &hosts[i].Volumes[j]
			at := slices.IndexFunc(t.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == v.ClaimName })
			if at < 0 {
				continue
			}
			claim, template := &t.Claims[at], &t.Templates[v.Template-1]
			if !slices.ContainsFunc(strings.Split(template.Metadata.Annotations[v1alpha1.AnnotationReplace], ","),
				func(uid string) bool { return strings.TrimSpace(uid) == string(claim.UID) }) {
				return workload.Fail(v1alpha1.ReasonNameConflict,
					"PersistentVolumeClaim %s exists already: give the volumeClaimTemplate another name, delete the "+
						"claim, or have it replaced with the annotation %s: %s on the template",
					v.ClaimName, v1alpha1.AnnotationReplace, claim.UID)
			}
			if p := InUse(t.Pods, v.ClaimName, nil); p != nil {
				return workload.Fail(v1alpha1.ReasonVolumeInUse,
					"pod %s uses PersistentVolumeClaim %s, which the restore must replace: stop the pod", p.Name,
					v.ClaimName)
			}
			v.Provision.Replaces = claim.UID
		}
	}
	return nil
}
