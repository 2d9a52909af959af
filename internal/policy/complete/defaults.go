package complete

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// DefaultCandidate is an object that is marked as a default.
type DefaultCandidate struct {
	metav1.Object
	// Usage is the object's usagePolicy.
	Usage *v1alpha1.UsagePolicy
}

// ChooseDefault returns the default for a namespace with these labels, or nil. The order is: a default of the namespace
// itself, an administrators' default that the namespace can use by a selector, an administrators' default that all
// namespaces can use. The oldest of several wins, so that nobody replaces a default by creating a newer one. A default
// of any other namespace counts there alone, so that nobody decides where the backups of others go.
func ChooseDefault(
	candidates []DefaultCandidate, administrators policy.Administrators, namespace string, labels map[string]string,
) *v1alpha1.ObjectReference {
	best, rank := -1, 0
	for i, c := range candidates {
		r := defaultRank(c, administrators, namespace, labels)
		if r > rank || r == rank && r > 0 && policy.Older(c, candidates[best]) {
			best, rank = i, r
		}
	}
	if best < 0 {
		return nil
	}
	return &v1alpha1.ObjectReference{Namespace: candidates[best].GetNamespace(), Name: candidates[best].GetName()}
}

// defaultRank returns the rank of a candidate in that order; 0 if it is no default for the namespace.
func defaultRank(
	c DefaultCandidate, administrators policy.Administrators, namespace string, labels map[string]string,
) int {
	switch {
	case !v1alpha1.InForce(c):
		return 0
	case c.GetNamespace() == namespace:
		return 3
	case !administrators.Has(c.GetNamespace()):
		return 0
	case !policy.Allowed(c.Usage, c.GetNamespace(), namespace, labels):
		return 0
	case *c.Usage.AllowedNamespaces.From == v1alpha1.NamespacesFromSelector:
		return 2
	default:
		return 1
	}
}

// DefaultStorages returns the candidates among storages. A storage on a volume is a candidate only in its own
// namespace.
func DefaultStorages(storages []v1alpha1.BackupStorage) []DefaultCandidate {
	var candidates []DefaultCandidate
	for i := range storages {
		s := &storages[i]
		if !s.Spec.Default {
			continue
		}
		candidate := DefaultCandidate{Object: s, Usage: s.Spec.UsagePolicy.Namespaces()}
		if s.Spec.Storage.Provider == v1alpha1.ProviderLocal {
			candidate.Usage = nil
		}
		candidates = append(candidates, candidate)
	}
	return candidates
}

// DefaultPolicies returns the candidates among RetentionPolicies.
func DefaultPolicies(policies []v1alpha1.RetentionPolicy) []DefaultCandidate {
	var candidates []DefaultCandidate
	for i := range policies {
		if p := &policies[i]; p.Spec.Default {
			candidates = append(candidates, DefaultCandidate{Object: p, Usage: p.Spec.UsagePolicy})
		}
	}
	return candidates
}

// SecondDefaultMessage returns the message about an object that is marked as the default of a namespace with an older
// default.
func SecondDefaultMessage(kind, elder string) string {
	return fmt.Sprintf("%s %s is already the default of this namespace: set spec.default: false on one of them", kind,
		elder)
}

// OnlyOwnDefaultMessage returns the message about an object that is marked as a default, that other namespaces can use,
// and that is not in a namespace of the administrators.
func OnlyOwnDefaultMessage(namespace string) string {
	return fmt.Sprintf("this is the default of its own namespace alone, because %s is not a namespace of the "+
		"administrators (--admin-namespaces of the manager): other namespaces that the usagePolicy allows can use it "+
		"by name", namespace)
}

// OffersItself reports whether a candidate lets other namespaces use it, and so seems to be their default, too.
func (c DefaultCandidate) OffersItself() bool {
	if c.Usage == nil || c.Usage.AllowedNamespaces.From == nil {
		return false
	}
	from := *c.Usage.AllowedNamespaces.From
	return from == v1alpha1.NamespacesFromAll || from == v1alpha1.NamespacesFromSelector
}

// ElderDefault returns the object that is the default of o's namespace in place of o, or nil. o must be marked as a
// default.
func ElderDefault(candidates []DefaultCandidate, o metav1.Object) metav1.Object {
	candidates = slices.DeleteFunc(slices.Clone(candidates),
		func(c DefaultCandidate) bool { return c.GetNamespace() != o.GetNamespace() })
	chosen := ChooseDefault(candidates, nil, o.GetNamespace(), nil)
	for _, c := range candidates {
		if chosen != nil && c.GetName() == chosen.Name && c.GetName() != o.GetName() && policy.Older(c, o) {
			return c
		}
	}
	return nil
}
