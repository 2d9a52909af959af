package check

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// ConfigurationMistakes returns everything that keeps a BackupConfiguration from being used, as far as the object alone
// shows it: duplicate names, missing backends and invalid schedules.
func ConfigurationMistakes(configuration *v1alpha1.BackupConfiguration) []policy.Mistake {
	var mistakes []policy.Mistake
	add := func(field, reason, format string, args ...any) {
		mistakes = append(mistakes, policy.Mistake{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	spec := &configuration.Spec
	if spec.Target == nil {
		add("spec.target", v1alpha1.ReasonTargetNotFound, "there is no target")
	} else if ns := spec.Target.Namespace; ns != "" && configuration.Namespace != "" && ns != configuration.Namespace {
		add("spec.target.namespace", v1alpha1.ReasonTargetNotFound,
			"a BackupConfiguration backs up only its own namespace: leave the namespace %q out, or create a "+
				"BackupConfiguration there", ns)
	}
	backends := map[string]bool{}
	for i, backend := range spec.Backends {
		field := fmt.Sprintf("spec.backends[%d]", i)
		if backends[backend.Name] {
			add(field+".name", v1alpha1.ReasonResourceValidationFailed, "backend %q is defined twice", backend.Name)
		}
		backends[backend.Name] = true
	}
	sessions := map[string]bool{}
	repositories := map[string]*v1alpha1.RepositoryInfo{}
	for i := range spec.Sessions {
		session := &spec.Sessions[i]
		field := fmt.Sprintf("spec.sessions[%d]", i)
		if sessions[session.Name] {
			add(field+".name", v1alpha1.ReasonResourceValidationFailed, "session %q is defined twice", session.Name)
		}
		sessions[session.Name] = true
		if session.Executor == v1alpha1.ExecutorSidecar && spec.Target != nil {
			mistakes = append(mistakes, catalog.SidecarMistakes(field, *spec.Target, session, nil, nil)...)
		}
		if spec.Target != nil {
			mistakes = append(mistakes, CopyMistakes(field, *spec.Target, session, nil)...)
		}
		if session.Addon == nil && spec.Target != nil && catalog.InferredAddon(*spec.Target) == "" &&
			!catalog.RevealsDatabaseType(*spec.Target) {
			add(field+".addon", v1alpha1.ReasonAddonNotFound, "%s", catalog.NoAddonMessage(*spec.Target))
		}
		infos := policy.RepositoriesOf(session)
		for j := range infos {
			info := &infos[j]
			at := fmt.Sprintf("%s.repositories[%d]", field, j)
			mistakes = append(mistakes, policy.BackendMistakes(at+".backend", spec.Backends, info.Backend)...)
			mistakes = append(mistakes, policy.DirectoryMistakes(at+".directory", info.Directory)...)
			if first := repositories[info.Name]; first != nil && !policy.SameSettings(first, info) {
				add(at, v1alpha1.ReasonRepositoryConflict,
					"the repository %q has another backend, directory, encryptionSecret or deletionPolicy in an "+
						"earlier session: use the same in both", info.Name)
			}
			repositories[info.Name] = info
		}
	}
	return append(mistakes, policy.ScheduleMistakes(v1alpha1.BackupConfigurationKind, configuration.Namespace,
		configuration.Name, policy.ConfigurationSessions(configuration))...)
}
