package complete

import (
	"cmp"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// StorageUse tells which policy uses a BackupStorage, or would get it as the default. A namespace that the storage does
// not allow uses it only by what was made there while it was allowed: anybody can name any storage.
type StorageUse struct {
	// Storage may be in deletion: that ends no use.
	Storage *v1alpha1.BackupStorage
	// Storages are all of the cluster.
	Storages []v1alpha1.BackupStorage
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
	// Repository returns a Repository, or nil.
	Repository func(namespace, name string) *v1alpha1.Repository
	// Labels returns the labels of a namespace.
	Labels func(namespace string) map[string]string
}

// ByConfiguration reports whether a BackupConfiguration names the storage, has it as an inferred one, chooses a
// Repository in it, or would get it as the default for a Repository that does not exist yet.
func (u StorageUse) ByConfiguration(c *v1alpha1.BackupConfiguration) bool {
	spec := SpecWithResolved(c)
	if u.named(c.Namespace, spec.Backends) && u.Allows(c.Namespace) {
		return true
	}
	for i := range spec.Sessions {
		for _, info := range policy.RepositoriesOf(&spec.Sessions[i]) {
			switch r := u.Repository(c.Namespace, cmp.Or(info.Name, c.Name)); {
			case r != nil && policy.HoldsVolumeSnapshots(r):
			case r != nil:
				if u.is(r.Namespace, &r.Spec.StorageRef) &&
					(r.Status.InitializedSpec != "" || u.Allows(c.Namespace)) {
					return true
				}
			case u.inferred(c.Namespace, spec.Backends, info.Backend):
				return true
			}
		}
	}
	return false
}

// ByBatch reports whether a BackupBatch names the storage, or would get it as the default for BackupConfigurations that
// are not made yet. Those that exist speak for themselves.
func (u StorageUse) ByBatch(b *v1alpha1.BackupBatch) bool {
	if u.named(b.Namespace, b.Spec.Backends) && u.Allows(b.Namespace) {
		return true
	}
	if b.Status.ObservedGeneration == b.Generation {
		return false
	}
	if len(b.Spec.Backends) == 0 {
		return u.isDefault(b.Namespace)
	}
	for i := range b.Spec.Backends {
		if b.Spec.Backends[i].StorageRef == nil {
			return u.isDefault(b.Namespace)
		}
	}
	return false
}

// Allows reports whether a namespace is allowed to use the storage. A volume is for its own namespace alone.
func (u StorageUse) Allows(namespace string) bool {
	if namespace == u.Storage.Namespace {
		return true
	}
	return u.Storage.Spec.Storage.Local == nil &&
		policy.Allowed(u.Storage.Spec.UsagePolicy.Namespaces(), u.Storage.Namespace, namespace, u.Labels(namespace))
}

// is reports whether a reference in a namespace names the storage.
func (u StorageUse) is(namespace string, reference *v1alpha1.ObjectReference) bool {
	key := reference.In(namespace)
	return key.Namespace == u.Storage.Namespace && key.Name == u.Storage.Name
}

func (u StorageUse) named(namespace string, backends []v1alpha1.BackendReference) bool {
	for i := range backends {
		if ref := backends[i].StorageRef; ref != nil && u.is(namespace, ref) {
			return true
		}
	}
	return false
}

// inferred reports whether a repository with this backend gets the storage as the default.
func (u StorageUse) inferred(namespace string, backends []v1alpha1.BackendReference, backend string) bool {
	chosen := policy.ChosenBackend(backends, backend)
	return (chosen == nil || chosen.StorageRef == nil) && u.isDefault(namespace)
}

// isDefault reports whether the storage is the default of a namespace, or would be if it stayed.
func (u StorageUse) isDefault(namespace string) bool {
	if !u.Storage.Spec.Default {
		return false
	}
	storages := make([]v1alpha1.BackupStorage, 0, len(u.Storages)+1)
	for _, s := range u.Storages {
		if s.Namespace != u.Storage.Namespace || s.Name != u.Storage.Name {
			storages = append(storages, s)
		}
	}
	stays := *u.Storage
	stays.DeletionTimestamp = nil
	chosen := ChooseDefault(DefaultStorages(append(storages, stays)), u.Administrators, namespace, u.Labels(namespace))
	return chosen != nil && u.is(namespace, chosen)
}
