package complete

import (
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SpecWithResolved returns the spec completed by what the status records as inferred. Indexes use it, so they hold only
// what is in the spec or the status.
func SpecWithResolved(configuration *v1alpha1.BackupConfiguration) v1alpha1.BackupConfigurationSpec {
	spec, resolved := configuration.Spec, configuration.Status.Resolved
	if resolved == nil {
		return spec
	}
	spec = *spec.DeepCopy()
	for _, b := range resolved.Backends {
		backend := v1alpha1.BackendReference{
			Name: b.Name, StorageRef: &b.StorageRef,
			RetentionPolicy: b.RetentionPolicy,
		}
		i := slices.IndexFunc(spec.Backends, func(known v1alpha1.BackendReference) bool { return known.Name == b.Name })
		if i < 0 {
			spec.Backends = append(spec.Backends, backend)
			continue
		}
		spec.Backends[i].StorageRef = backend.StorageRef
		if backend.RetentionPolicy != nil {
			spec.Backends[i].RetentionPolicy = backend.RetentionPolicy
		}
	}
	for _, r := range resolved.Sessions {
		for i := range spec.Sessions {
			if session := &spec.Sessions[i]; session.Name == r.Name {
				withResolved(session, r)
			}
		}
	}
	return spec
}

func withResolved(session *v1alpha1.BackupConfigurationSession, resolved v1alpha1.ResolvedConfigurationSession) {
	if session.Addon == nil && resolved.Addon != "" {
		session.Addon = &v1alpha1.AddonInfo{
			Name:  resolved.Addon,
			Tasks: []v1alpha1.TaskReference{{Name: resolved.Task}},
		}
	}
	for _, r := range resolved.Repositories {
		session.Repositories = slices.DeleteFunc(session.Repositories, func(known v1alpha1.RepositoryInfo) bool {
			return known.Name == r.Name || known.Name == ""
		})
		info := v1alpha1.RepositoryInfo{Name: r.Name, Backend: r.Backend, Directory: r.Directory}
		if r.EncryptionSecret.Name != "" {
			info.EncryptionSecret = &r.EncryptionSecret
		}
		session.Repositories = append(session.Repositories, info)
	}
}
