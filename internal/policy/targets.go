package policy

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Find returns the objects of a batch's namespace that the selector of a target finds, each once, in any order. Among
// and foundBefore return a Find; a nil Find finds nothing.
type Find func(target *v1alpha1.BatchTarget) []v1alpha1.TypedObjectReference

// Target is one object that a batch backs up.
type Target struct {
	// Name of the target. It depends only on the entry of spec.targets and on the object.
	Name string
	// FoundBy is the name of the entry of spec.targets whose selector found the object; empty if the entry names the
	// object.
	FoundBy string
	// AppRef is the object.
	AppRef v1alpha1.TypedObjectReference
}

// Entry returns the name of the entry of spec.targets, which sessions use.
func (t *Target) Entry() string { return cmp.Or(t.FoundBy, t.Name) }

// Targets returns what a batch backs up, in the order of spec.targets; the objects of a selector are ordered by kind
// and name. If two share a name, which is a mistake of the batch, the first counts.
func Targets(batch *v1alpha1.BackupBatch, find Find) []Target {
	all := expandTargets(batch, find)
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(t Target) bool {
		twice := seen[t.Name]
		seen[t.Name] = true
		return twice
	})
}

// TargetsInForce returns the targets of a batch that have children. While the batch has mistakes, these are the targets
// that its selectors found before.
func TargetsInForce(batch *v1alpha1.BackupBatch, find Find) []Target {
	if len(batchMistakes(batch, find)) > 0 {
		find = foundBefore(batch)
	}
	return Targets(batch, find)
}

// MaxBatchTargets returns how many targets a batch can have, whatever its selectors find.
func MaxBatchTargets(batch *v1alpha1.BackupBatch) int {
	most := 0
	for i := range batch.Spec.Targets {
		if s := batch.Spec.Targets[i].Selector; s != nil {
			most += maxTargets(s)
		} else {
			most++
		}
	}
	return min(most, v1alpha1.MaxBatchTargets)
}

// KnownTargets returns the targets of a batch according to its status.
func KnownTargets(batch *v1alpha1.BackupBatch) []Target { return Targets(batch, foundBefore(batch)) }

// foundBefore returns a Find for what the selectors of a batch found according to its status.
func foundBefore(batch *v1alpha1.BackupBatch) Find {
	found := map[string][]v1alpha1.TypedObjectReference{}
	for i := range batch.Status.Targets {
		if t := &batch.Status.Targets[i]; t.FoundBy != "" {
			found[t.FoundBy] = append(found[t.FoundBy], t.AppRef)
		}
	}
	return func(target *v1alpha1.BatchTarget) []v1alpha1.TypedObjectReference { return found[target.Name] }
}

// KnownEmpty returns the names of the entries of spec.targets whose selectors are known to find nothing. Without the
// condition nobody has looked yet: then the status lists no targets either.
func KnownEmpty(batch *v1alpha1.BackupBatch) []string {
	if !meta.IsStatusConditionTrue(batch.Status.Conditions, v1alpha1.ConditionSelectorFindsNothing) {
		return nil
	}
	return EmptySelectors(batch)
}

// EmptySelectors returns the names of the entries of spec.targets whose selectors have found nothing of what the status
// of a batch lists.
func EmptySelectors(batch *v1alpha1.BackupBatch) []string {
	found := foundBefore(batch)
	var names []string
	for i := range batch.Spec.Targets {
		if t := &batch.Spec.Targets[i]; t.Selector != nil && len(found(t)) == 0 {
			names = append(names, t.Name)
		}
	}
	return names
}

// SessionTargets returns the targets that a session of the batch names, in the session's order.
func SessionTargets(session *v1alpha1.BackupBatchSession, targets []Target) []Target {
	of := map[string][]Target{}
	for i := range targets {
		of[targets[i].Entry()] = append(of[targets[i].Entry()], targets[i])
	}
	var out []Target
	for i := range session.Targets {
		out = append(out, of[session.Targets[i].Name]...)
	}
	return out
}

// RepositoryNames returns the Repositories that a batch names for a target in all of its sessions, each once.
func RepositoryNames(batch *v1alpha1.BackupBatch, target Target) []string {
	var names []string
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		for j := range session.Targets {
			if session.Targets[j].Name != target.Entry() {
				continue
			}
			for _, info := range TargetRepositories(session, &session.Targets[j], &target) {
				if !slices.Contains(names, info.Name) {
					names = append(names, info.Name)
				}
			}
		}
	}
	return names
}

// expandTargets returns the targets of a batch, including those with duplicate names.
func expandTargets(batch *v1alpha1.BackupBatch, find Find) []Target {
	out := make([]Target, 0, len(batch.Spec.Targets))
	for i := range batch.Spec.Targets {
		target := &batch.Spec.Targets[i]
		if target.Selector == nil {
			out = append(out, Target{Name: target.Name, AppRef: target.AppRef})
			continue
		}
		if find == nil {
			continue
		}
		found := slices.SortedFunc(slices.Values(find(target)), func(a, b v1alpha1.TypedObjectReference) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
		})
		for _, object := range found {
			out = append(out, Target{
				Name: FoundTargetName(target.Name, object.Kind, object.Name), FoundBy: target.Name,
				AppRef: object,
			})
		}
	}
	return out
}
