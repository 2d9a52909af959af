package policy

import (
	"cmp"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Find says which objects of a batch's namespace the selector of a target finds, each once, in any order. Among and FoundBefore
// give one; nil finds nothing.
type Find func(target *v1alpha1.BatchTarget) []v1alpha1.TypedObjectReference

// Target is one object that a batch backs up.
type Target struct {
	// Name of the target. It depends on nothing but the target of spec.targets and the object.
	Name string
	// FoundBy is the name of the target of spec.targets whose selector found the object; empty where that names it.
	FoundBy string
	// AppRef is the object.
	AppRef v1alpha1.TypedObjectReference
}

// Entry is the name of the target of spec.targets, by which sessions name it.
func (t *Target) Entry() string { return cmp.Or(t.FoundBy, t.Name) }

// Targets are what a batch backs up, in the order of spec.targets, and what a selector finds by kind and name. Of two of one
// name, which is a mistake of the batch, the first is taken.
func Targets(batch *v1alpha1.BackupBatch, find Find) []Target {
	all := expandTargets(batch, find)
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(t Target) bool {
		twice := seen[t.Name]
		seen[t.Name] = true
		return twice
	})
}

// TargetsInForce are the targets of a batch as its children have them: while it has mistakes, what its selectors found before.
func TargetsInForce(batch *v1alpha1.BackupBatch, find Find) []Target {
	if len(batchMistakes(batch, find)) > 0 {
		find = FoundBefore(batch)
	}
	return Targets(batch, find)
}

// MostTargets is how many targets a batch may have, whatever its selectors find.
func MostTargets(batch *v1alpha1.BackupBatch) int {
	most := 0
	for i := range batch.Spec.Targets {
		if s := batch.Spec.Targets[i].Selector; s != nil {
			most += MaxTargets(s)
		} else {
			most++
		}
	}
	return min(most, v1alpha1.MaxBatchTargets)
}

// KnownTargets are the targets of a batch as its status has them.
func KnownTargets(batch *v1alpha1.BackupBatch) []Target { return Targets(batch, FoundBefore(batch)) }

// FoundBefore finds what the status of a batch says that its selectors found.
func FoundBefore(batch *v1alpha1.BackupBatch) Find {
	found := map[string][]v1alpha1.TypedObjectReference{}
	for i := range batch.Status.Targets {
		if t := &batch.Status.Targets[i]; t.FoundBy != "" {
			found[t.FoundBy] = append(found[t.FoundBy], t.AppRef)
		}
	}
	return func(target *v1alpha1.BatchTarget) []v1alpha1.TypedObjectReference { return found[target.Name] }
}

// SessionTargets are those targets that a session of the batch names, in its order.
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

// RepositoryNames are the Repositories that a batch names for a target in all of its sessions, each once.
func RepositoryNames(batch *v1alpha1.BackupBatch, target Target) []string {
	var names []string
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		for j := range session.Targets {
			if session.Targets[j].Name != target.Entry() {
				continue
			}
			for _, info := range targetRepositories(session, &session.Targets[j], &target) {
				if !slices.Contains(names, info.Name) {
					names = append(names, info.Name)
				}
			}
		}
	}
	return names
}

// expandTargets are the targets of a batch, also those whose names are in use twice.
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
			out = append(out, Target{Name: FoundTargetName(target.Name, object.Kind, object.Name), FoundBy: target.Name, AppRef: object})
		}
	}
	return out
}
