package policy

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RepositoryOf returns the Repository that a complete configuration asks for. It leaves out what the configuration
// lacks. A Repository of VolumeSnapshots has a driver and a target, and nothing else.
func RepositoryOf(
	configuration *v1alpha1.BackupConfiguration, info *v1alpha1.RepositoryInfo, driver v1alpha1.Driver,
) *v1alpha1.Repository {
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Name: info.Name, Namespace: configuration.Namespace,
			Labels:     InvokerOf(configuration).Labels(),
			Finalizers: []string{v1alpha1.FinalizerWipe},
		},
		Spec: v1alpha1.RepositorySpec{
			AppRef: *configuration.Spec.Target,
			Driver: cmp.Or(driver, v1alpha1.DriverKopia),
		},
	}
	repository.Labels[v1alpha1.LabelManagedBy] = v1alpha1.ManagedByCairn
	if HoldsVolumeSnapshots(repository) {
		return repository
	}
	repository.Spec.Path = info.Directory
	repository.Spec.EncryptionSecret = ptr.Deref(info.EncryptionSecret, v1alpha1.ObjectReference{})
	for _, backend := range configuration.Spec.Backends {
		if backend.Name == info.Backend {
			repository.Spec.StorageRef = ptr.Deref(backend.StorageRef, v1alpha1.ObjectReference{})
		}
	}
	return repository
}

// RepositoryDifference is what of a Repository differs from what policy asks for.
type RepositoryDifference string

// The values of RepositoryDifference, in the order in which CompareRepository looks for them.
const (
	// SameRepository means that the Repository is the one that policy asks for.
	SameRepository RepositoryDifference = ""
	// OtherDriver means that the Repository keeps its data in another way.
	OtherDriver RepositoryDifference = "Driver"
	// OtherPlace means that the Repository has another storage or directory.
	OtherPlace RepositoryDifference = "Place"
	// OtherTarget means that the Repository keeps the backups of another target.
	OtherTarget RepositoryDifference = "Target"
	// OtherSecret means that the Repository has another encryption Secret.
	OtherSecret RepositoryDifference = "EncryptionSecret"
)

// CompareRepository returns the first difference between a Repository and the one that policy asks for, however they
// are spelled. A Repository without a target fits every target. DeletionPolicy and paused are allowed to differ. Both
// are in one namespace.
func CompareRepository(actual, wanted *v1alpha1.Repository) RepositoryDifference {
	return compareRepository(actual, wanted, func(a, b v1alpha1.TypedObjectReference) bool {
		return SameTarget(a, b) &&
			cmp.Or(a.Namespace, wanted.Namespace) == cmp.Or(b.Namespace, wanted.Namespace)
	})
}

// CompareRepositoryOfRun is CompareRepository for a run, which compares only kind and name of the target. A run backs
// up into a Repository whose appRef lacks the API group, or has another namespace: an appRef never changes, so the
// target would have no new backups. The configuration reports the difference.
func CompareRepositoryOfRun(actual, wanted *v1alpha1.Repository) RepositoryDifference {
	return compareRepository(actual, wanted, SameKindAndName)
}

func compareRepository(
	actual, wanted *v1alpha1.Repository, sameTarget func(a, b v1alpha1.TypedObjectReference) bool,
) RepositoryDifference {
	is, want, namespace := &actual.Spec, &wanted.Spec, wanted.Namespace
	switch {
	case is.Driver != want.Driver:
		return OtherDriver
	case is.StorageRef.In(namespace) != want.StorageRef.In(namespace),
		NormalizeDirectory(is.Path) != NormalizeDirectory(want.Path):
		return OtherPlace
	case is.AppRef.Name != "" && !sameTarget(is.AppRef, want.AppRef):
		return OtherTarget
	case is.EncryptionSecret.In(namespace) != want.EncryptionSecret.In(namespace):
		return OtherSecret
	}
	return SameRepository
}

// SameTarget reports whether two references in one namespace name the same object. Objects of different API groups
// differ, even if they have the same kind and name.
func SameTarget(a, b v1alpha1.TypedObjectReference) bool {
	return a.APIGroup == b.APIGroup && SameKindAndName(a, b)
}

// SameKindAndName reports whether two references in one namespace have the same kind and name. Unlike SameTarget, it
// finds the object of a reference that lacks its API group.
func SameKindAndName(a, b v1alpha1.TypedObjectReference) bool {
	return a.Kind == b.Kind && a.Name == b.Name
}

// Emptied reports whether a Repository holds no backup although a success that ended at a time claims one in it. Nil is
// a Repository that is gone. One created after that success cannot hold its backup. Until a Repository has counted its
// first backup it is not emptied: it writes the time of the last backup together with the count, and keeps that time.
func Emptied(r *v1alpha1.Repository, success time.Time) bool {
	if r == nil {
		return true
	}
	n := r.Status.SnapshotCount
	return !HoldsBackup(r) && (r.CreationTimestamp.After(success) || n != nil && r.Status.LastBackupTime != nil)
}

// Holding is what a Repository holds, as far as it has counted its Snapshots.
type Holding string

// The values of Holding.
const (
	// HoldsNothing means that it has counted no Snapshot that succeeded.
	HoldsNothing Holding = ""
	// HoldsDamaged means that all of these are known to lack data.
	HoldsDamaged Holding = "Damaged"
	// HoldsUnchecked means that a scan has made all others but half restored ones, and no check has looked at them
	// since.
	HoldsUnchecked Holding = "Unchecked"
	// HoldsHalfRestored means that before the newest one was made, or all others, a restore had begun to write into
	// their target and had not ended well.
	HoldsHalfRestored Holding = "HalfRestored"
	// HoldsGood means that a run has made one of them, or a check found it intact, and it is not known to lack data.
	HoldsGood Holding = "Good"
)

// Holds returns what a Repository holds.
func Holds(r *v1alpha1.Repository) Holding {
	n := ptr.Deref(r.Status.SnapshotCount, 0)
	damaged, unchecked := r.Status.DamagedCount, r.Status.UncheckedCount
	switch {
	case n <= 0:
		return HoldsNothing
	case damaged >= n:
		return HoldsDamaged
	case r.Status.NewestHalfRestored, damaged+r.Status.HalfRestoredCount >= n:
		return HoldsHalfRestored
	case damaged+unchecked+r.Status.HalfRestoredCount >= n:
		return HoldsUnchecked
	}
	return HoldsGood
}

// HoldsBackup reports whether a Repository has counted a Snapshot that succeeded.
func HoldsBackup(r *v1alpha1.Repository) bool { return Holds(r) != HoldsNothing }

// HoldsVolumeSnapshots reports whether a Repository has the driver VolumeSnapshotter: it has no storage, no directory
// and no password, and its data are VolumeSnapshots in its namespace.
func HoldsVolumeSnapshots(r *v1alpha1.Repository) bool {
	return r.Spec.Driver == v1alpha1.DriverVolumeSnapshotter
}

// OtherDriverMessage returns the message about a session whose task has another driver than its Repository.
func OtherDriverMessage(repository string, has, wants v1alpha1.Driver) string {
	return fmt.Sprintf(
		"the Repository %q has driver %s, but the task of this session has driver %s: a Repository has only one "+
			"driver. Give the repository of this session another name", repository, has, wants)
}

// DifferenceMessage says how a Repository differs from the wanted one, and what to do. The difference is what
// CompareRepository or CompareRepositoryOfRun returned. SameRepository has no message.
func DifferenceMessage(difference RepositoryDifference, actual, wanted *v1alpha1.Repository) string {
	if difference == OtherDriver {
		return OtherDriverMessage(actual.Name, actual.Spec.Driver, wanted.Spec.Driver)
	}
	place := func(s *v1alpha1.RepositorySpec) string {
		return fmt.Sprintf("directory %q of BackupStorage %s", NormalizeDirectory(s.Path),
			s.StorageRef.In(wanted.Namespace))
	}
	target := func(s *v1alpha1.RepositorySpec) string {
		return fmt.Sprintf("target %s %s/%s", schema.GroupKind{Group: s.AppRef.APIGroup, Kind: s.AppRef.Kind},
			cmp.Or(s.AppRef.Namespace, wanted.Namespace), s.AppRef.Name)
	}
	secret := func(s *v1alpha1.RepositorySpec) string {
		return fmt.Sprintf("encryptionSecret %s", s.EncryptionSecret.In(wanted.Namespace))
	}
	describe := map[RepositoryDifference]func(*v1alpha1.RepositorySpec) string{
		OtherPlace: place, OtherTarget: target, OtherSecret: secret,
	}[difference]
	if describe == nil {
		return ""
	}
	advice := "Correct the policy, or give the repository another name"
	if difference == OtherSecret { // its directory stays encrypted with the other password, also without it
		advice += " and another directory"
	}
	return fmt.Sprintf("Repository %s/%s has %s, and the policy has %s: these fields never change. %s",
		wanted.Namespace, wanted.Name, describe(&actual.Spec), describe(&wanted.Spec), advice)
}

// NamesRetention reports whether a backend names a RetentionPolicy.
func NamesRetention(b *v1alpha1.BackendReference) bool {
	return b.RetentionPolicy != nil && b.RetentionPolicy.Name != ""
}
