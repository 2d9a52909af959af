package policy

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Administrators are the namespaces of the cluster's administrators. What lies there can count for other namespaces
// without their word: a default, or a Ledger that records them. The zero value has none.
type Administrators []string

// Has reports whether a namespace is one of the administrators'.
func (a Administrators) Has(namespace string) bool { return slices.Contains(a, namespace) }

// Allowed reports whether an object of namespace owner with this usage policy can be referred to from namespace user,
// which has userLabels. Its own namespace always can; without a policy no other namespace can. An unreadable selector
// allows nobody.
func Allowed(usage *v1alpha1.UsagePolicy, owner, user string, userLabels map[string]string) bool {
	if owner == user {
		return true
	}
	if usage == nil || usage.AllowedNamespaces.From == nil {
		return false
	}
	switch *usage.AllowedNamespaces.From {
	case v1alpha1.NamespacesFromAll:
		return true
	case v1alpha1.NamespacesFromSelector:
		if usage.AllowedNamespaces.Selector == nil {
			return false
		}
		selector, err := metav1.LabelSelectorAsSelector(usage.AllowedNamespaces.Selector)
		return err == nil && selector.Matches(labels.Set(userLabels))
	default:
		return false
	}
}

// AllowsRestoreTo reports whether a Repository's owner lets another namespace restore from it.
func AllowsRestoreTo(repo *v1alpha1.Repository, namespace string) bool {
	for _, allowed := range strings.Split(repo.Annotations[v1alpha1.AnnotationRestoreTo], ",") {
		if slices.Contains([]string{namespace, "*"}, strings.TrimSpace(allowed)) {
			return true
		}
	}
	return false
}

// NotAllowedMessage returns the message about a reference from namespace user to an object, given as "<kind>
// <namespace>/<name>", that the object's usagePolicy does not allow.
func NotAllowedMessage(object, user string) string {
	return fmt.Sprintf("the usagePolicy of %s does not allow the namespace %s", object, user)
}

// NotAllowedVolumeMessage returns the message about a reference from another namespace to a storage that is a volume.
func NotAllowedVolumeMessage(object string) string {
	return object + " is a volume: it can be used only from its own namespace"
}
