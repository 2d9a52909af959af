package policy

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// DefaultCandidate is an object that says that it is a default.
type DefaultCandidate struct {
	metav1.Object
	// Usage is the object's usagePolicy.
	Usage *v1alpha1.UsagePolicy
}

// ChooseDefault is the default for a namespace with these labels, or nil: the default of the namespace itself, else one that
// the namespace may use by a selector, else one that all may use. Of several the oldest counts, so that nobody takes another
// one's place by making a new one.
func ChooseDefault(candidates []DefaultCandidate, namespace string, labels map[string]string) *v1alpha1.ObjectReference {
	best, rank := -1, 0
	for i, c := range candidates {
		r := defaultRank(c, namespace, labels)
		if r > rank || r == rank && r > 0 && Older(c, candidates[best]) {
			best, rank = i, r
		}
	}
	if best < 0 {
		return nil
	}
	return &v1alpha1.ObjectReference{Namespace: candidates[best].GetNamespace(), Name: candidates[best].GetName()}
}

// defaultRank is 0 for a candidate that is none.
func defaultRank(c DefaultCandidate, namespace string, labels map[string]string) int {
	switch {
	case v1alpha1.HasRecordAnnotation(c.GetAnnotations()) || c.GetDeletionTimestamp() != nil:
		return 0
	case c.GetNamespace() == namespace:
		return 3
	case !Allowed(c.Usage, c.GetNamespace(), namespace, labels):
		return 0
	case *c.Usage.AllowedNamespaces.From == v1alpha1.NamespacesFromSelector:
		return 2
	default:
		return 1
	}
}

// DefaultStorages are the candidates among storages. A volume is one in its own namespace alone.
func DefaultStorages(storages []v1alpha1.BackupStorage) []DefaultCandidate {
	var candidates []DefaultCandidate
	for i := range storages {
		s := &storages[i]
		if !s.Spec.Default {
			continue
		}
		candidate := DefaultCandidate{Object: s, Usage: s.Spec.UsagePolicy}
		if s.Spec.Storage.Provider == v1alpha1.ProviderLocal {
			candidate.Usage = nil
		}
		candidates = append(candidates, candidate)
	}
	return candidates
}

// DefaultPolicies are the candidates among RetentionPolicies.
func DefaultPolicies(policies []v1alpha1.RetentionPolicy) []DefaultCandidate {
	var candidates []DefaultCandidate
	for i := range policies {
		if p := &policies[i]; p.Spec.Default {
			candidates = append(candidates, DefaultCandidate{Object: p, Usage: p.Spec.UsagePolicy})
		}
	}
	return candidates
}

// SecondDefault is the sentence about an object that wants to be the default of a namespace that has an older one.
func SecondDefault(kind, elder string) string {
	return fmt.Sprintf("%s %s is the default of this namespace already: set spec.default: false on one of them", kind, elder)
}

// ElderDefault is the object that is the default of o's namespace before o, or nil. o is a default itself.
func ElderDefault(candidates []DefaultCandidate, o metav1.Object) metav1.Object {
	candidates = slices.DeleteFunc(slices.Clone(candidates), func(c DefaultCandidate) bool { return c.GetNamespace() != o.GetNamespace() })
	chosen := ChooseDefault(candidates, o.GetNamespace(), nil)
	for _, c := range candidates {
		if chosen != nil && c.GetName() == chosen.Name && c.GetName() != o.GetName() && Older(c, o) {
			return c
		}
	}
	return nil
}
