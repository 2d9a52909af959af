package policy

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Expand makes the child BackupConfigurations of a batch, one a target, in the order of spec.targets. A child holds what
// the batch says about its target and nothing else: neither other targets nor the order of sessions and backends change it.
// It has no schedule, because the batch's sessions run it. Children share no memory with the batch and have no owner
// references. The error is an *InvalidError with every mistake of the batch; there are no children then.
func Expand(batch *v1alpha1.BackupBatch) ([]v1alpha1.BackupConfiguration, error) {
	if mistakes := batchMistakes(batch); len(mistakes) > 0 {
		return nil, asError(mistakes)
	}

	position := make(map[string]int, len(batch.Spec.Targets))
	children := make([]v1alpha1.BackupConfiguration, len(batch.Spec.Targets))
	for i, target := range batch.Spec.Targets {
		position[target.Name] = i
		children[i] = newChild(batch, target)
	}
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		for j := range session.Targets {
			child := &children[position[session.Targets[j].Name]]
			child.Spec.Sessions = append(child.Spec.Sessions, childSession(session, &session.Targets[j]))
		}
	}
	for i := range children {
		spec := &children[i].Spec
		slices.SortFunc(spec.Sessions, func(a, b v1alpha1.BackupConfigurationSession) int { return cmp.Compare(a.Name, b.Name) })
		spec.Backends = usedBackends(batch.Spec.Backends, spec.Sessions)
		children[i].Annotations = map[string]string{v1alpha1.AnnotationSpecDigest: Digest(spec)}
	}
	return children, nil
}

// newChild is the child of a target before its sessions and backends are known.
func newChild(batch *v1alpha1.BackupBatch, target v1alpha1.BatchTarget) v1alpha1.BackupConfiguration {
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

// childSession is what a batch's session does for one target.
func childSession(session *v1alpha1.BackupBatchSession, target *v1alpha1.BatchSessionTarget) v1alpha1.BackupConfigurationSession {
	config := session.SessionConfig.DeepCopy()
	config.Scheduler = nil
	config.Hooks = AroundTarget(config.Hooks, target.Hooks)
	if own := target.BackupTimeout; own != nil && (config.BackupTimeout == nil || own.Duration < config.BackupTimeout.Duration) {
		config.BackupTimeout = own.DeepCopy()
	}
	var repositories []v1alpha1.RepositoryInfo
	for i := range target.Repositories {
		repositories = append(repositories, *target.Repositories[i].DeepCopy())
	}
	return v1alpha1.BackupConfigurationSession{SessionConfig: *config, Addon: target.Addon.DeepCopy(), Repositories: repositories}
}

// usedBackends are those backends that the sessions back up to, by name.
func usedBackends(backends []v1alpha1.BackendReference, sessions []v1alpha1.BackupConfigurationSession) []v1alpha1.BackendReference {
	var used []v1alpha1.BackendReference
	for i := range backends {
		if slices.ContainsFunc(sessions, func(s v1alpha1.BackupConfigurationSession) bool {
			return slices.ContainsFunc(repositoriesOf(&s), func(r v1alpha1.RepositoryInfo) bool {
				chosen := chosenBackend(backends, r.Backend)
				return chosen != nil && chosen.Name == backends[i].Name
			})
		}) {
			used = append(used, *backends[i].DeepCopy())
		}
	}
	slices.SortFunc(used, func(a, b v1alpha1.BackendReference) int { return cmp.Compare(a.Name, b.Name) })
	return used
}
