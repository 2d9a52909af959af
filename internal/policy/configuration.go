package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ConfigurationMistakes is everything that keeps a BackupConfiguration from being used, as far as it alone can tell: names
// that mean two things, backends that are not there, and schedules.
func ConfigurationMistakes(configuration *v1alpha1.BackupConfiguration) []Mistake {
	var mistakes []Mistake
	add := func(field, reason, format string, args ...any) {
		mistakes = append(mistakes, Mistake{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	spec := &configuration.Spec
	if spec.Target == nil {
		add("spec.target", v1alpha1.ReasonTargetNotFound, "there is no target")
	} else if ns := spec.Target.Namespace; ns != "" && configuration.Namespace != "" && ns != configuration.Namespace {
		add("spec.target.namespace", v1alpha1.ReasonTargetNotFound,
			"a BackupConfiguration backs up its own namespace: leave the namespace %q out, or make a BackupConfiguration there", ns)
	}
	backends := map[string]bool{}
	for i, backend := range spec.Backends {
		field := fmt.Sprintf("spec.backends[%d]", i)
		if backends[backend.Name] {
			add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two backends have the name %q", backend.Name)
		}
		backends[backend.Name] = true
		if backend.StorageRef == nil {
			add(field+".storageRef", v1alpha1.ReasonStorageNotFound, "the backend %q names no BackupStorage", backend.Name)
		}
	}
	sessions := map[string]bool{}
	repositories := map[string]*v1alpha1.RepositoryInfo{}
	for i := range spec.Sessions {
		session := &spec.Sessions[i]
		field := fmt.Sprintf("spec.sessions[%d]", i)
		if sessions[session.Name] {
			add(field+".name", v1alpha1.ReasonResourceValidationFailed, "two sessions have the name %q", session.Name)
		}
		sessions[session.Name] = true
		if session.Addon == nil {
			add(field+".addon", v1alpha1.ReasonAddonNotFound, "the session %q has no addon", session.Name)
		}
		for j := range session.Repositories {
			info := &session.Repositories[j]
			at := fmt.Sprintf("%s.repositories[%d]", field, j)
			if !backends[info.Backend] {
				add(at+".backend", v1alpha1.ReasonBackendNotFound, "spec.backends has no backend %q", info.Backend)
			}
			mistakes = append(mistakes, directoryMistakes(at+".directory", info.Directory)...)
			if info.EncryptionSecret == nil {
				add(at+".encryptionSecret", v1alpha1.ReasonEncryptionSecretNotAvailable, "the repository %q has no encryptionSecret", info.Name)
				continue
			}
			if first := repositories[info.Name]; first != nil && !sameRepository(first, info) {
				add(at, v1alpha1.ReasonRepositoryConflict,
					"the repository %q has another backend, directory or encryptionSecret in an earlier session: say the same in both", info.Name)
			}
			repositories[info.Name] = info
		}
	}
	return append(mistakes, ScheduleMistakes(ConfigurationSessions(configuration))...)
}
