// Package complete fills in what policy leaves out: storage, retention, directory, Addon, task and encryption. It is
// pure and keeps no state. Invariant: a Repository that exists does not move because a default changed.
package complete

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Lookups looks up what completes a BackupConfiguration. The returned references have a namespace.
type Lookups struct {
	// ClusterName is the first element of inferred directories.
	ClusterName string
	// Repository returns a Repository of the configuration's namespace, or nil.
	Repository func(name string) *v1alpha1.Repository
	// DefaultStorage returns the default storage for the configuration's namespace, or nil.
	DefaultStorage func() *v1alpha1.ObjectReference
	// DefaultRetention returns the default RetentionPolicy for the configuration's namespace, or nil.
	DefaultRetention func() *v1alpha1.ObjectReference
	// Storage returns the storage that a reference names, or nil.
	Storage func(v1alpha1.ObjectReference) *v1alpha1.BackupStorage
	// DatabaseInfo returns what the target reveals about its database. It is called only if the kind of the target does
	// not name the database.
	DatabaseInfo func() catalog.DatabaseInfo
	// Driver returns the driver of the task that a session names; empty if there is no such Addon or task. A nil Driver
	// knows none.
	Driver func(*v1alpha1.AddonInfo) v1alpha1.Driver
}

// Completion is a BackupConfiguration completed by everything that its spec leaves out.
type Completion struct {
	// Configuration is a copy with a complete spec, except for repositories and backends that cannot be inferred. A
	// backend that only VolumeSnapshots use has no storage and is there for its RetentionPolicy.
	Configuration *v1alpha1.BackupConfiguration
	// Drivers of the repositories by name. A repository whose task is unknown has no driver, unless its Repository
	// exists.
	Drivers map[string]v1alpha1.Driver
	// Resolved is what was inferred; nil if nothing was.
	Resolved *v1alpha1.ResolvedConfiguration
	// Missing explains what could not be inferred and why. The reason RepositoryConflict means that policy contradicts
	// itself or an existing Repository.
	Missing []policy.Mistake
	// Changed explains which inferences would differ now from those of the existing repositories.
	Changed []string
}

// Complete infers what a BackupConfiguration without mistakes leaves out. The backend comes from the default storage,
// its RetentionPolicy from the default RetentionPolicy, the repository's name from the configuration's name, its
// directory from the target, its encryption Secret from the storage, and the Addon from the target's kind or object; an
// Addon that cannot be inferred has an empty name. An existing Repository supplies its own values, so that its backups
// never move because a default has changed. A setting for a repository in one session applies in all sessions. A
// repository with VolumeSnapshots needs only a name.
func Complete(configuration *v1alpha1.BackupConfiguration, known Lookups) Completion {
	c := &completer{
		known: known, out: Completion{Configuration: configuration.DeepCopy(), Drivers: map[string]v1alpha1.Driver{}},
		sessions: make([]sessionCompletion, len(configuration.Spec.Sessions)),
	}
	c.spec, c.original = &c.out.Configuration.Spec, &configuration.Spec
	c.spec.Backends = nil
	for i := range c.spec.Sessions {
		c.addon(i)
	}
	c.drivers()
	c.backends()
	c.settings = repositorySettings(configuration)
	for i := range c.spec.Sessions {
		c.session(i)
	}
	if len(c.resolved.Backends) > 0 || len(c.resolved.Sessions) > 0 {
		c.out.Resolved = &c.resolved
	}
	return c.out
}

type completer struct {
	known    Lookups
	original *v1alpha1.BackupConfigurationSpec
	out      Completion
	spec     *v1alpha1.BackupConfigurationSpec
	settings map[string]v1alpha1.RepositoryInfo
	resolved v1alpha1.ResolvedConfiguration
	sessions []sessionCompletion
}

// sessionCompletion holds what was inferred for a session and the driver of its task; the driver is empty if unknown.
type sessionCompletion struct {
	resolved v1alpha1.ResolvedConfigurationSession
	driver   v1alpha1.Driver
}

func (c *completer) missing(field, reason, format string, args ...any) {
	c.out.Missing = append(c.out.Missing,
		policy.Mistake{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// repositorySettings merges the settings of each repository over all sessions.
func repositorySettings(configuration *v1alpha1.BackupConfiguration) map[string]v1alpha1.RepositoryInfo {
	all := map[string]v1alpha1.RepositoryInfo{}
	for i := range configuration.Spec.Sessions {
		for _, info := range policy.RepositoriesOf(&configuration.Spec.Sessions[i]) {
			name := cmp.Or(info.Name, configuration.Name)
			known := all[name]
			all[name] = v1alpha1.RepositoryInfo{
				Name: name, Backend: cmp.Or(known.Backend, info.Backend),
				Directory:        cmp.Or(known.Directory, info.Directory),
				EncryptionSecret: cmp.Or(known.EncryptionSecret, info.EncryptionSecret),
			}
		}
	}
	return all
}

// backends completes each backend by the default storage and RetentionPolicy, and drops a backend without a storage. Of
// a backend that only VolumeSnapshots use, only the RetentionPolicy counts.
func (c *completer) backends() {
	for _, b := range c.original.Backends {
		b = *b.DeepCopy()
		if c.onlySnapshots(b.Name) {
			if b.StorageRef = nil; policy.NamesRetention(&b) {
				c.spec.Backends = append(c.spec.Backends, b)
			}
			continue
		}
		inferred := b.StorageRef == nil
		if inferred {
			b.StorageRef = c.known.DefaultStorage()
		}
		if b.StorageRef != nil {
			c.addBackend(b, inferred)
		}
	}
}

// addBackend adds a backend that has a storage, and gives it the default RetentionPolicy if it has none. It records
// what was inferred.
func (c *completer) addBackend(b v1alpha1.BackendReference, inferred bool) {
	resolved := v1alpha1.ResolvedBackend{Name: b.Name, StorageRef: c.named(*b.StorageRef)}
	if !policy.NamesRetention(&b) {
		resolved.RetentionPolicy = c.known.DefaultRetention()
		b.RetentionPolicy = resolved.RetentionPolicy
	}
	c.spec.Backends = append(c.spec.Backends, b)
	if inferred || resolved.RetentionPolicy != nil {
		c.resolved.Backends = append(c.resolved.Backends, resolved)
	}
}

// addon completes the Addon of a session and looks up the driver of its task.
func (c *completer) addon(i int) {
	session, known := &c.spec.Sessions[i], &c.sessions[i]
	known.resolved.Name = session.Name
	if session.Addon == nil {
		name, none := catalog.AddonOf(*c.spec.Target, c.known.DatabaseInfo)
		if none != nil {
			c.missing(fmt.Sprintf("spec.sessions[%d].addon", i), none.Reason, "%s", none.Message)
		} else {
			known.resolved.Addon, known.resolved.Task = name, catalog.BackupTask
		}
		session.Addon = &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{{Name: catalog.BackupTask}}}
	}
	if c.known.Driver != nil && session.Addon.Name != "" {
		known.driver = c.known.Driver(session.Addon)
	}
}

// session completes the repositories of one session.
func (c *completer) session(i int) {
	session, resolved := &c.spec.Sessions[i], &c.sessions[i].resolved
	infos := policy.RepositoriesOf(session)
	session.Repositories = nil
	for j := range infos {
		field := fmt.Sprintf("spec.sessions[%d].repositories[%d]", i, j)
		info, inferred := c.repositoryWithDriver(field, c.sessions[i].driver, infos[j])
		if info == nil {
			continue
		}
		session.Repositories = append(session.Repositories, *info)
		if inferred {
			resolved.Repositories = append(resolved.Repositories, v1alpha1.ResolvedRepositoryInfo{
				Name: info.Name, Backend: info.Backend, Directory: info.Directory,
				EncryptionSecret: ptr.Deref(info.EncryptionSecret, v1alpha1.ObjectReference{}),
			})
		}
	}
	if resolved.Addon != "" || len(resolved.Repositories) > 0 {
		c.resolved.Sessions = append(c.resolved.Sessions, *resolved)
	}
}

// repository completes a repository and reports whether anything was left out. It returns nil if it cannot complete it.
func (c *completer) repository(field string, info v1alpha1.RepositoryInfo) (*v1alpha1.RepositoryInfo, bool) {
	out := c.settings[cmp.Or(info.Name, c.out.Configuration.Name)]
	chosen := policy.ChosenBackend(c.original.Backends, info.Backend)
	inferred := info.Name == "" || info.Backend == "" || info.Directory == "" || info.EncryptionSecret == nil ||
		chosen != nil && chosen.StorageRef == nil
	if !inferred {
		return &info, false
	}
	existing := c.known.Repository(out.Name)
	if existing != nil && policy.HoldsVolumeSnapshots(existing) {
		c.otherDriver(field, existing, v1alpha1.DriverKopia)
		return nil, true
	}
	storage := c.backend(field, &out, existing)
	if storage == nil {
		return nil, true
	}
	if out.Directory == "" {
		out.Directory = c.directory(out.Name, *storage, existing)
	}
	if out.EncryptionSecret == nil {
		out.EncryptionSecret = c.encryption(field, out.Name, *storage, existing)
	}
	if out.EncryptionSecret == nil {
		return nil, true
	}
	out.EncryptionSecret = new(c.named(*out.EncryptionSecret))
	return &out, true
}

// createdByCairn reports whether Cairn created the Repository. Then everything that policy leaves out of it was
// inferred.
func createdByCairn(r *v1alpha1.Repository) bool {
	return r.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn
}

func (c *completer) changed(format string, args ...any) {
	if sentence := fmt.Sprintf(format, args...); !slices.Contains(c.out.Changed, sentence) {
		c.out.Changed = append(c.out.Changed, sentence)
	}
}

// backend completes the backend of a repository and returns its storage; nil if there is none.
func (c *completer) backend(
	field string, info *v1alpha1.RepositoryInfo, existing *v1alpha1.Repository,
) *v1alpha1.ObjectReference {
	chosen := policy.ChosenBackend(c.original.Backends, info.Backend)
	if chosen != nil && chosen.StorageRef != nil {
		info.Backend = chosen.Name
		return new(c.named(*chosen.StorageRef))
	}
	if wrong := policy.BackendMistakes(field+".backend", c.original.Backends, info.Backend); len(wrong) > 0 {
		c.out.Missing = append(c.out.Missing, wrong...)
		return nil
	}
	fallback := c.known.DefaultStorage()
	storage := fallback
	if existing != nil {
		storage = new(c.named(existing.Spec.StorageRef))
		if createdByCairn(existing) && fallback != nil && *fallback != *storage {
			c.changed("Repository %s stays in BackupStorage %s/%s: the default is now %s/%s", existing.Name,
				storage.Namespace, storage.Name, fallback.Namespace, fallback.Name)
		}
	}
	if storage == nil {
		c.missing(field+".backend", v1alpha1.ReasonStorageNotFound,
			"policy names no BackupStorage, and there is no default BackupStorage that "+
				"the namespace %s can use: name one in spec.backends, or set spec.default: true on one",
			c.out.Configuration.Namespace)
		return nil
	}
	var retention *v1alpha1.ObjectReference
	if chosen != nil {
		retention = chosen.RetentionPolicy
	}
	info.Backend = c.backendOf(*storage, retention)
	return storage
}

// backendOf returns the name of the inferred backend with this storage, and adds the backend if it is missing.
func (c *completer) backendOf(storage v1alpha1.ObjectReference, retention *v1alpha1.ObjectReference) string {
	for _, b := range c.resolved.Backends {
		if chosen := policy.ChosenBackend(c.original.Backends, b.Name); b.StorageRef == storage &&
			(chosen == nil || chosen.StorageRef == nil) {
			return b.Name
		}
	}
	name := storage.Name
	if slices.ContainsFunc(c.spec.Backends, func(b v1alpha1.BackendReference) bool { return b.Name == name }) {
		name = storage.Namespace + "." + storage.Name
	}
	c.addBackend(v1alpha1.BackendReference{Name: name, StorageRef: &storage, RetentionPolicy: retention}, true)
	return name
}

// directory returns the directory of a repository in a storage that names none. It lies where the storage wants it.
func (c *completer) directory(
	name string, storage v1alpha1.ObjectReference, existing *v1alpha1.Repository,
) string {
	target := c.spec.Target
	fresh := "/" + strings.Join([]string{
		c.known.ClusterName, c.out.Configuration.Namespace,
		strings.ToLower(target.Kind), target.Name,
	}, "/")
	if found := c.known.Storage(storage); found != nil {
		prefix := policy.DirectoryPrefix(found, c.known.ClusterName, c.out.Configuration.Namespace)
		if !policy.Within(fresh, prefix) {
			fresh = "/" + prefix + fresh
		}
	}
	if existing == nil {
		return fresh
	}
	if createdByCairn(existing) && policy.NormalizeDirectory(fresh) != policy.NormalizeDirectory(existing.Spec.Path) {
		c.changed("Repository %s stays in the directory %s: a new Repository would be in %s", name, existing.Spec.Path,
			fresh)
	}
	return existing.Spec.Path
}

// encryption returns the Secret of a repository that names none, or nil.
func (c *completer) encryption(
	field, name string, storage v1alpha1.ObjectReference, existing *v1alpha1.Repository,
) *v1alpha1.ObjectReference {
	var fresh *v1alpha1.ObjectReference
	found := c.known.Storage(storage)
	if found != nil && found.Spec.EncryptionSecret != nil {
		fresh = &v1alpha1.ObjectReference{Namespace: storage.Namespace, Name: found.Spec.EncryptionSecret.Name}
	}
	switch {
	case existing != nil:
		secret := c.named(existing.Spec.EncryptionSecret)
		if createdByCairn(existing) && fresh != nil && *fresh != secret {
			c.changed("Repository %s stays encrypted with Secret %s/%s: the Secret of the storage is now %s/%s", name,
				secret.Namespace, secret.Name, fresh.Namespace, fresh.Name)
		}
		return &secret
	case found == nil:
		c.missing(field+".encryptionSecret", v1alpha1.ReasonStorageNotFound,
			"BackupStorage %s/%s, whose encryptionSecret is the default, "+
				"does not exist", storage.Namespace, storage.Name)
	case fresh == nil:
		c.missing(field+".encryptionSecret", v1alpha1.ReasonEncryptionSecretNotAvailable,
			"policy names no encryption Secret for the repository %s, and "+
				"BackupStorage %s/%s has no default: name a Secret here, or in the storage's spec.encryptionSecret",
			name, storage.Namespace, storage.Name)
	}
	return fresh
}

// named fills in the namespace of a reference.
func (c *completer) named(reference v1alpha1.ObjectReference) v1alpha1.ObjectReference {
	reference.Namespace = cmp.Or(reference.Namespace, c.out.Configuration.Namespace)
	return reference
}
