package policy

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Expand returns the child BackupConfigurations of a batch, one for each target, in the order of Targets. A child
// depends only on what the batch says about its target: other targets and the order of sessions and backends do not
// change it. It has no schedule, because the sessions of the batch run it, and its Repositories do not go with it:
// BatchRepositories says which go with the batch. Children share no memory with the batch and have no owner
// references. On error, which is an *InvalidError with every mistake of the batch, there are no children.
func Expand(batch *v1alpha1.BackupBatch, find Find) ([]v1alpha1.BackupConfiguration, error) {
	children, err := expand(batch, find)
	for i := range children {
		children[i].Annotations = map[string]string{v1alpha1.AnnotationSpecDigest: Digest(&children[i].Spec)}
	}
	return children, err
}

// KnownChildren returns the children of a batch for the targets in its status, without digests of their specs.
func KnownChildren(batch *v1alpha1.BackupBatch) ([]v1alpha1.BackupConfiguration, error) {
	return expand(batch, foundBefore(batch))
}

func expand(batch *v1alpha1.BackupBatch, find Find) ([]v1alpha1.BackupConfiguration, error) {
	targets := expandTargets(batch, find)
	if mistakes := targetMistakes(batch, targets); len(mistakes) > 0 {
		return nil, asError(mistakes)
	}

	of := make(map[string][]int, len(batch.Spec.Targets))
	children := make([]v1alpha1.BackupConfiguration, len(targets))
	for i := range targets {
		of[targets[i].Entry()] = append(of[targets[i].Entry()], i)
		children[i] = newChild(batch, &targets[i])
	}
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		for j := range session.Targets {
			for _, at := range of[session.Targets[j].Name] {
				spec := &children[at].Spec
				spec.Sessions = append(spec.Sessions, childSession(session, &session.Targets[j], &targets[at]))
			}
		}
	}
	for i := range children {
		spec := &children[i].Spec
		slices.SortFunc(spec.Sessions, func(a, b v1alpha1.BackupConfigurationSession) int {
			return cmp.Compare(a.Name,
				b.Name)
		})
		spec.Backends = usedBackends(batch.Spec.Backends, spec.Sessions)
	}
	return children, nil
}

// newChild returns the child of a target without sessions and backends.
func newChild(batch *v1alpha1.BackupBatch, target *Target) v1alpha1.BackupConfiguration {
	app := target.AppRef
	return v1alpha1.BackupConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.BackupConfigurationKind},
		ObjectMeta: metav1.ObjectMeta{
			Name:      ChildName(batch.Name, target.Name),
			Namespace: batch.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn,
				v1alpha1.LabelBatch:     LabelValue(batch.Name),
			},
		},
		Spec: v1alpha1.BackupConfigurationSpec{Target: &app},
	}
}

// childSession returns what a batch's session does for one target.
func childSession(
	session *v1alpha1.BackupBatchSession, says *v1alpha1.BatchSessionTarget, target *Target,
) v1alpha1.BackupConfigurationSession {
	config := session.SessionConfig.DeepCopy()
	config.Scheduler = nil
	config.Hooks = aroundTarget(config.Hooks, says.Hooks)
	if own := says.BackupTimeout; own != nil &&
		(config.BackupTimeout == nil || own.Duration < config.BackupTimeout.Duration) {
		config.BackupTimeout = own.DeepCopy()
	}
	repositories := TargetRepositories(session, says, target)
	for i := range repositories {
		// A child goes when its target leaves the batch. Only the deletion of the batch removes data.
		if repositories[i].DeletionPolicy != "" {
			repositories[i].DeletionPolicy = v1alpha1.RetainRepository
		}
	}
	return v1alpha1.BackupConfigurationSession{
		SessionConfig: *config, Addon: says.Addon.DeepCopy(), Executor: says.Executor,
		CopySettings: *says.CopySettings.DeepCopy(),
		Repositories: repositories,
	}
}

// TargetRepositories returns the repositories of a target in a session: its own, else those of the session. The
// session's repositories, and the own ones of a target with a selector, are templates.
func TargetRepositories(
	session *v1alpha1.BackupBatchSession, says *v1alpha1.BatchSessionTarget, target *Target,
) []v1alpha1.RepositoryInfo {
	infos, template := says.Repositories, target.FoundBy != ""
	if len(infos) == 0 {
		infos, template = session.Repositories, true
	}
	if len(infos) == 0 {
		return nil
	}
	out := make([]v1alpha1.RepositoryInfo, len(infos))
	for i := range infos {
		infos[i].DeepCopyInto(&out[i])
		if template && out[i].Name != "" {
			out[i].Name = templateName(out[i].Name, target.Name)
		}
		if template && out[i].Directory != "" {
			out[i].Directory = strings.TrimRight(out[i].Directory, "/") + "/" + target.Name
		}
	}
	return out
}

// ChildDigest returns the digest of what the runs of a batch's session take from the spec of a child. They take the
// rest of the session from the batch, and other sessions do not change it.
func ChildDigest(spec *v1alpha1.BackupConfigurationSpec, session string) string {
	used := v1alpha1.BackupConfigurationSpec{Target: spec.Target}
	for _, s := range spec.Sessions {
		if s.Name == session {
			s.SessionConfig = v1alpha1.SessionConfig{Name: s.Name}
			used.Sessions = append(used.Sessions, s)
		}
	}
	used.Backends = usedBackends(spec.Backends, used.Sessions)
	return Digest(&used)
}

// usedBackends returns the backends that the sessions use, ordered by name.
func usedBackends(
	backends []v1alpha1.BackendReference, sessions []v1alpha1.BackupConfigurationSession,
) []v1alpha1.BackendReference {
	var used []v1alpha1.BackendReference
	for i := range backends {
		if slices.ContainsFunc(sessions, func(s v1alpha1.BackupConfigurationSession) bool {
			return slices.ContainsFunc(RepositoriesOf(&s), func(r v1alpha1.RepositoryInfo) bool {
				chosen := ChosenBackend(backends, r.Backend)
				return chosen != nil && chosen.Name == backends[i].Name
			})
		}) {
			used = append(used, *backends[i].DeepCopy())
		}
	}
	slices.SortFunc(used, func(a, b v1alpha1.BackendReference) int { return cmp.Compare(a.Name, b.Name) })
	return used
}
