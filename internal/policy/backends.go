package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// RepositoriesOf returns the repositories of a session. A session that names none has one without a name.
func RepositoriesOf(session *v1alpha1.BackupConfigurationSession) []v1alpha1.RepositoryInfo {
	if len(session.Repositories) == 0 {
		return []v1alpha1.RepositoryInfo{{}}
	}
	return session.Repositories
}

// ChosenBackend returns the backend that a repository names, or the only backend if it names none; nil if there is no
// such backend.
func ChosenBackend(backends []v1alpha1.BackendReference, name string) *v1alpha1.BackendReference {
	for i := range backends {
		if backends[i].Name == name {
			return &backends[i]
		}
	}
	if name == "" && len(backends) == 1 {
		return &backends[0]
	}
	return nil
}

// BackendMistakes explains why a repository has no backend. A repository that names none has the backend without a
// name, or the only backend.
func BackendMistakes(field string, backends []v1alpha1.BackendReference, name string) []Mistake {
	var names []string
	for i := range backends {
		if backends[i].Name != "" {
			names = append(names, backends[i].Name)
		}
	}
	message := NotListed("spec.backends", "backend", name, names)
	switch {
	case ChosenBackend(backends, name) != nil, name == "" && len(backends) == 0:
		return nil
	case name == "":
		message = fmt.Sprintf("spec.backends has %d backends: name one of them", len(backends))
	}
	return []Mistake{{Field: field, Reason: v1alpha1.ReasonBackendNotFound, Message: message}}
}

// NotListed returns a message: the list in field has no item of this name, but others.
func NotListed(field, item, name string, names []string) string {
	message := fmt.Sprintf("%s has no %s %q", field, item, name)
	if len(names) > 0 {
		message += ": it has " + FirstFew(names)
	}
	return message
}
