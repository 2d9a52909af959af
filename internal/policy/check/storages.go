package check

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// directoryUse is the first place that names a repository.
type directoryUse struct {
	repository Reference
	path       string
	keys       []string
	target     v1alpha1.TypedObjectReference
	object     *Object
	field      string
}

// storage checks the references of a BackupStorage.
func (c *checker) storage(o *Object) {
	var storage v1alpha1.BackupStorage
	if !c.read(o, v1alpha1.BackupStorageKind, &storage) {
		return
	}
	namespace := c.referenceOf(o).Namespace
	storage.Namespace = namespace
	c.storages = append(c.storages, storage)
	if storage.Spec.Default {
		c.oneDefault(o)
	}
	if encryption := storage.Spec.EncryptionSecret; encryption != nil {
		c.secret(o, "spec.encryptionSecret.name", v1alpha1.ObjectReference{Name: encryption.Name})
	}
	if secret := policy.SecretOf(storage.Spec.Storage); secret.Name != "" {
		c.find(o, secret.Field, v1alpha1.ReasonBackendSecretNotAvailable,
			Reference{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: namespace, Name: secret.Name})
	}
	if name := storage.Spec.MaintenanceSecretName; name != "" {
		c.find(o, "spec.maintenanceSecretName", v1alpha1.ReasonBackendSecretNotAvailable,
			Reference{GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: namespace, Name: name})
	}
	if local := storage.Spec.Storage.Local; local != nil && local.PersistentVolumeClaim != nil {
		c.find(o, "spec.storage.local.persistentVolumeClaim.claimName", v1alpha1.ReasonVolumeNotBound, Reference{
			GroupKind: schema.GroupKind{Kind: v1alpha1.KindPersistentVolumeClaim}, Namespace: namespace,
			Name: local.PersistentVolumeClaim.ClaimName,
		})
	}
}

// storageReference checks that a storage exists and, as far as the set shows it, that o's namespace is allowed to use
// it.
func (c *checker) storageReference(o *Object, field string, storage v1alpha1.ObjectReference) {
	user := c.referenceOf(o).Namespace
	reference := Reference{
		GroupKind: ours(v1alpha1.BackupStorageKind), Namespace: orDefault(storage.Namespace, user),
		Name: storage.Name,
	}
	found := c.find(o, field, v1alpha1.ReasonStorageNotFound, reference)
	if found == nil || reference.Namespace == user {
		return
	}
	var object v1alpha1.BackupStorage
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), &object); err != nil {
		return // The mistake is reported at the BackupStorage in the set, or the cluster has checked it.
	}
	if object.Spec.Storage.Provider == v1alpha1.ProviderLocal {
		c.add(SeverityError, o, policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonStorageNotAllowed,
			Message: policy.NotAllowedVolumeMessage(reference.String()),
		})
		return
	}
	c.usage(o, field, reference, object.Spec.UsagePolicy.Namespaces(), v1alpha1.ReasonStorageNotAllowed)
}

// oneDefault checks that a default is the only default of its kind and namespace.
func (c *checker) oneDefault(o *Object) {
	scope := c.referenceOf(o)
	scope.Name = ""
	if first, ok := c.defaults[scope]; ok {
		c.add(SeverityError, o, policy.Mistake{
			Field: "spec.default", Reason: v1alpha1.ReasonDefaultTaken,
			Message: complete.SecondDefaultMessage(scope.Kind, first),
		})
		return
	}
	c.defaults[scope] = o.GetName()
}

func (c *checker) namespaceLabels(name string) (map[string]string, bool) {
	reference := Reference{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: name}
	found := c.peek(reference)
	if found == nil {
		return nil, false
	}
	return found.GetLabels(), true
}

// repositoryObject checks an explicit Repository.
func (c *checker) repositoryObject(o *Object) {
	var repository v1alpha1.Repository
	if !c.read(o, v1alpha1.RepositoryKind, &repository) {
		return
	}
	c.oneDriver(o, "spec.driver", c.referenceOf(o), cmp.Or(repository.Spec.Driver, v1alpha1.DriverKopia))
	if policy.HoldsVolumeSnapshots(&repository) {
		c.inferred[c.referenceOf(o)] = true
		return
	}
	c.addAll(o, policy.DirectoryMistakes("spec.path", repository.Spec.Path))
	c.storageReference(o, "spec.storageRef", repository.Spec.StorageRef)
	c.secret(o, "spec.encryptionSecret", repository.Spec.EncryptionSecret)
	c.directory(o, "spec.path", repository.Name, repository.Spec.AppRef, repository.Spec.StorageRef,
		repository.Spec.Path)
}

// infosOf describes where repositories are named: the session, and the target that is backed up to them.
type infosOf struct {
	// field of the session, and fallback, the name of a repository without a name.
	field, fallback string
	target          v1alpha1.TypedObjectReference
	backends        []v1alpha1.BackendReference
	// driver of the session's task; empty if only a cluster knows it.
	driver v1alpha1.Driver
}

// repositoryInfos checks the repositories that a session names.
func (c *checker) repositoryInfos(o *Object, of infosOf, infos []v1alpha1.RepositoryInfo) {
	if len(infos) == 0 {
		infos = []v1alpha1.RepositoryInfo{{}}
	}
	for i := range infos {
		info := &infos[i]
		at := fmt.Sprintf("%s.repositories[%d]", of.field, i)
		name := cmp.Or(info.Name, of.fallback)
		reference := Reference{
			GroupKind: ours(v1alpha1.RepositoryKind), Namespace: c.referenceOf(o).Namespace,
			Name: name,
		}
		if of.driver != "" {
			c.oneDriver(o, at, reference, of.driver)
		}
		if of.driver == v1alpha1.DriverVolumeSnapshotter {
			c.inferred[reference] = true
			continue // A Repository of VolumeSnapshots has no directory and no password.
		}
		if info.EncryptionSecret != nil {
			c.secret(o, at+".encryptionSecret", *info.EncryptionSecret)
		}
		backend := policy.ChosenBackend(of.backends, info.Backend)
		switch {
		case backend != nil && backend.StorageRef != nil && info.Directory != "":
			c.directory(o, at+".directory", name, of.target, *backend.StorageRef, info.Directory)
			continue
		case len(of.backends) == 0 && c.peek(reference) == nil:
			c.defaultStorage(o, "spec.backends")
			c.defaultRetention(o)
		}
		c.inferred[reference] = true
	}
}

// defaultStorage checks that the set has a default storage that o's namespace is allowed to use.
func (c *checker) defaultStorage(o *Object, field string) {
	user := c.referenceOf(o).Namespace
	labels, _ := c.namespaceLabels(user)
	chosen := complete.ChooseDefault(complete.DefaultStorages(c.storages), c.Administrators, user, labels)
	if chosen != nil {
		c.uses(o, Reference{ours(v1alpha1.BackupStorageKind), chosen.Namespace, chosen.Name})
	} else {
		c.add(unknown, o, policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonStorageNotFound,
			Message: fmt.Sprintf("these files have no default BackupStorage that the namespace %s can use: only the "+
				"cluster can tell whether there is one", user),
		})
	}
}

func (c *checker) secret(o *Object, field string, secret v1alpha1.ObjectReference) {
	c.find(o, field, v1alpha1.ReasonEncryptionSecretNotAvailable, Reference{
		GroupKind: schema.GroupKind{Kind: "Secret"}, Namespace: orDefault(secret.Namespace, c.referenceOf(o).Namespace),
		Name: secret.Name,
	})
}

// directory checks that a directory has only one repository, and a repository only one directory and one target.
func (c *checker) directory(
	o *Object, field, name string, target v1alpha1.TypedObjectReference, storage v1alpha1.ObjectReference, path string,
) {
	namespace := c.referenceOf(o).Namespace
	target.Namespace = orDefault(target.Namespace, namespace)
	c.prefix(o, field, storage, path)
	use := directoryUse{
		repository: Reference{GroupKind: ours(v1alpha1.RepositoryKind), Namespace: namespace, Name: name},
		path:       path,
		keys:       policy.DirectoryKeys(namespace, storage, path),
		target:     target,
		object:     o,
		field:      field,
	}
	if first, ok := c.repositories[use.repository]; ok && (first.keys[0] != use.keys[0] || first.target.Name != "" &&
		first.target != use.target) {
		if first.object != o { // The check of the object itself reports a conflict within it.
			c.add(SeverityError, o, policy.Mistake{
				Field: field, Reason: v1alpha1.ReasonRepositoryConflict,
				Message: fmt.Sprintf("%s has another target, storage or directory at %s: give it another name",
					use.repository, c.place(first)),
			})
		}
		return
	}
	c.repositories[use.repository] = use
	if first, ok := c.overlapping(use); ok {
		message := fmt.Sprintf("the directory %q belongs to %s at %s: two repositories cannot share a directory", path,
			first.repository, c.place(first))
		if first.keys[0] != use.keys[0] {
			message = fmt.Sprintf(
				"the directory %q overlaps with %q of %s at %s: a repository cannot lie inside another",
				path, first.path, first.repository, c.place(first))
		}
		c.add(SeverityError, o, policy.Mistake{Field: field, Reason: v1alpha1.ReasonDirectoryTaken, Message: message})
		return
	}
	c.directories[use.keys[0]] = use
	for _, around := range use.keys[1:] {
		if _, ok := c.around[around]; !ok {
			c.around[around] = use
		}
	}
}

// prefix checks, as far as the set shows it, that a directory lies where its storage wants those of o's namespace. The
// storage can name the cluster, which nobody knows here: then any name does.
func (c *checker) prefix(o *Object, field string, storage v1alpha1.ObjectReference, path string) {
	user := c.referenceOf(o).Namespace
	reference := Reference{
		GroupKind: ours(v1alpha1.BackupStorageKind), Namespace: orDefault(storage.Namespace, user), Name: storage.Name,
	}
	found := c.peek(reference)
	var object v1alpha1.BackupStorage
	if found == nil || runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(),
		&object) != nil {
		return // The check of the reference reports it.
	}
	object.Namespace = reference.Namespace
	refusal := policy.DirectoryRefusal(&object, policy.ClusterIn(&object, path), user, path)
	if refusal != "" {
		c.add(SeverityError, o, policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonDirectoryNotAllowed, Message: refusal,
		})
	}
}

// overlapping returns a use by another repository of the same directory, of one around it or of one inside it.
func (c *checker) overlapping(use directoryUse) (directoryUse, bool) {
	for _, key := range use.keys {
		if first, ok := c.directories[key]; ok && first.repository != use.repository {
			return first, true
		}
	}
	first, ok := c.around[use.keys[0]]
	return first, ok && first.repository != use.repository
}

// place returns where a use is: <file>:<line>, else the object.
func (c *checker) place(use directoryUse) string {
	if use.object.File == "" {
		return c.referenceOf(use.object).String()
	}
	if use.object.LineOf == nil {
		return use.object.File
	}
	return fmt.Sprintf("%s:%d", use.object.File, use.object.LineOf(use.field))
}

func orDefault(namespace, fallback string) string {
	if namespace == "" {
		return fallback
	}
	return namespace
}
