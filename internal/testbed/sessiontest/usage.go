package sessiontest

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Usage is a usagePolicy for an object, and what it means for another namespace.
type Usage struct {
	// Policy returns the usagePolicy for the namespace that asks.
	Policy func(namespace string) *v1alpha1.UsagePolicy
	// Allowed reports whether that namespace is allowed to use the object.
	Allowed bool
}

// Usages returns all ways to allow or refuse a namespace the use of an object, by name.
func Usages() map[string]Usage {
	from := func(from v1alpha1.NamespacesFrom) func(string) *v1alpha1.UsagePolicy {
		return func(string) *v1alpha1.UsagePolicy {
			return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(from)}}
		}
	}
	selected := func(name string) *v1alpha1.UsagePolicy {
		return &v1alpha1.UsagePolicy{AllowedNamespaces: v1alpha1.AllowedNamespaces{
			From: new(v1alpha1.NamespacesFromSelector),
			// The API server labels each namespace with its name.
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}},
		}}
	}
	return map[string]Usage{
		"nothing said":       {func(string) *v1alpha1.UsagePolicy { return nil }, false},
		"All":                {from(v1alpha1.NamespacesFromAll), true},
		"Same":               {from(v1alpha1.NamespacesFromSame), false},
		"Selector":           {selected, true},
		"Selector of others": {func(string) *v1alpha1.UsagePolicy { return selected("other") }, false},
	}
}
