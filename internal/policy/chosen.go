package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
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
		message += ": it has " + text.FirstFew(names)
	}
	return message
}

// Invoker identifies the policy that a user wrote: a BackupBatch, or a BackupConfiguration that belongs to none.
type Invoker struct{ Kind, Name string }

// InvokerOf returns the BackupBatch that a BackupConfiguration belongs to, else the BackupConfiguration.
func InvokerOf(configuration *v1alpha1.BackupConfiguration) Invoker {
	if owner := metav1.GetControllerOf(configuration); owner != nil && owner.Kind == v1alpha1.BackupBatchKind {
		return Invoker{owner.Kind, owner.Name}
	}
	return Invoker{v1alpha1.BackupConfigurationKind, configuration.Name}
}

// Labels returns the labels by which a Repository names the policy.
func (i Invoker) Labels() map[string]string {
	return map[string]string{
		v1alpha1.LabelInvokerKind: i.Kind, v1alpha1.LabelInvokerName: LabelValue(i.Name),
	}
}

// Marked reports whether a Repository names the policy.
func (i Invoker) Marked(r *v1alpha1.Repository) bool {
	return r.Labels[v1alpha1.LabelInvokerKind] == i.Kind && r.Labels[v1alpha1.LabelInvokerName] == LabelValue(i.Name)
}

// ChosenRepository is a repository that policy chooses for a target, and what becomes of it with the policy.
type ChosenRepository struct {
	// Name of the Repository.
	Name string
	// Target whose backups it holds.
	Target v1alpha1.TypedObjectReference
	// DeletionPolicy says what happens to it when the policy is deleted.
	DeletionPolicy v1alpha1.RepositoryDeletionPolicy
}

// Goes reports whether the Repository is to be deleted with the policy.
func (c ChosenRepository) Goes() bool {
	return c.DeletionPolicy == v1alpha1.DeleteRepository || c.DeletionPolicy == v1alpha1.WipeOutRepository
}

// ConfigurationRepositories returns the repositories that a BackupConfiguration chooses, each once.
func ConfigurationRepositories(configuration *v1alpha1.BackupConfiguration) []ChosenRepository {
	if configuration.Spec.Target == nil {
		return nil
	}
	var out []ChosenRepository
	for i := range configuration.Spec.Sessions {
		out = choose(out, configuration.Name, *configuration.Spec.Target,
			RepositoriesOf(&configuration.Spec.Sessions[i]))
	}
	return out
}

// BatchRepositories returns the repositories that a BackupBatch chooses for these targets, each once, in the order of
// the targets.
func BatchRepositories(batch *v1alpha1.BackupBatch, targets []Target) []ChosenRepository {
	var out []ChosenRepository
	for i := range targets {
		target := &targets[i]
		for j := range batch.Spec.Sessions {
			session := &batch.Spec.Sessions[j]
			for k := range session.Targets {
				if session.Targets[k].Name != target.Entry() {
					continue
				}
				infos := TargetRepositories(session, &session.Targets[k], target)
				if len(infos) == 0 {
					infos = []v1alpha1.RepositoryInfo{{}}
				}
				out = choose(out, ChildName(batch.Name, target.Name), target.AppRef, infos)
			}
		}
	}
	return out
}

// choose adds the repositories of a session that are not there yet. Policy with one repository in two ways is a
// mistake: then it stays.
func choose(
	out []ChosenRepository, configuration string, target v1alpha1.TypedObjectReference,
	infos []v1alpha1.RepositoryInfo,
) []ChosenRepository {
	for i := range infos {
		chosen := ChosenRepository{
			Name: cmp.Or(infos[i].Name, configuration), Target: target,
			DeletionPolicy: orRetain(infos[i].DeletionPolicy),
		}
		at := slices.IndexFunc(out, func(c ChosenRepository) bool { return c.Name == chosen.Name })
		switch {
		case at < 0:
			out = append(out, chosen)
		case out[at] != chosen:
			out[at].DeletionPolicy = v1alpha1.RetainRepository
		}
	}
	return out
}

// Retained returns what the status of a policy says about the Repositories that name the policy, and that are not in
// use. targets are what the policy backs up. Somebody who deleted a Repository has decided about it.
func Retained(
	marked []*v1alpha1.Repository, used func(*v1alpha1.Repository) bool, targets []v1alpha1.TypedObjectReference,
) v1alpha1.RetainedRepositories {
	var all []v1alpha1.RetainedRepository
	for _, r := range marked {
		if !v1alpha1.InForce(r) || used(r) {
			continue
		}
		reason := v1alpha1.ReasonTargetLeft
		if slices.ContainsFunc(targets, func(t v1alpha1.TypedObjectReference) bool {
			return SameTarget(t, r.Spec.AppRef)
		}) {
			reason = v1alpha1.ReasonRepositoryLeft
		}
		all = append(all, v1alpha1.RetainedRepository{Name: r.Name, AppRef: r.Spec.AppRef, Reason: reason})
	}
	slices.SortFunc(all, func(a, b v1alpha1.RetainedRepository) int { return strings.Compare(a.Name, b.Name) })
	return v1alpha1.RetainedRepositories{
		Retained: all[:min(len(all), v1alpha1.MaxRetained)], RetainedCount: int32(len(all)),
	}
}

// RetainedMessage says what becomes of the Repositories in status.retained. It returns "" if there are none.
func RetainedMessage(retained v1alpha1.RetainedRepositories) string {
	if len(retained.Retained) == 0 {
		return ""
	}
	const named = 10
	names := make([]string, 0, named+1)
	for _, r := range retained.Retained[:min(len(retained.Retained), named)] {
		names = append(names, r.Name)
	}
	if int(retained.RetainedCount) > len(names) {
		names = append(names, "and others in status.retained")
	}
	return "Cairn keeps these Repositories and the backups in them, if any, although this policy no longer uses " +
		"them: " + strings.Join(names, ", ") + ". Delete a Repository to decide: its own deletionPolicy says what " +
		"becomes of the data"
}
