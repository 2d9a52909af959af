package sessiontest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Usage is a usagePolicy for a BackupStorage, and what it means for another namespace.
type Usage struct {
	// Policy returns the usagePolicy for the namespace that asks.
	Policy func(namespace string) *v1alpha1.StorageUsagePolicy
	// Reason is why that namespace is refused, "" if it is allowed to use the storage.
	Reason string
}

// Allowed reports whether that namespace is allowed to use the storage.
func (u Usage) Allowed() bool { return u.Reason == "" }

// Says returns the beginning of the message with which the BackupStorage of Storage refuses a namespace.
func (u Usage) Says(storageNamespace, namespace string) string {
	format := "the usagePolicy of BackupStorage %s/%s does not allow the namespace %s"
	if u.Reason == v1alpha1.ReasonDirectoryNotAllowed {
		format = "the usagePolicy of BackupStorage %s/%s allows the namespace %s only directories at or below /"
	}
	return fmt.Sprintf(format, storageNamespace, StorageName, namespace)
}

// Usages returns all ways to allow or refuse a namespace the use of a BackupStorage, by name. Its Repository is one of
// Repository.
func Usages() map[string]Usage {
	from := func(from v1alpha1.NamespacesFrom, prefix string) func(string) *v1alpha1.StorageUsagePolicy {
		return func(string) *v1alpha1.StorageUsagePolicy {
			return &v1alpha1.StorageUsagePolicy{
				UsagePolicy: v1alpha1.UsagePolicy{
					AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(from)},
				},
				DirectoryPrefix: prefix,
			}
		}
	}
	selected := func(name string) *v1alpha1.StorageUsagePolicy {
		return &v1alpha1.StorageUsagePolicy{UsagePolicy: v1alpha1.UsagePolicy{
			AllowedNamespaces: v1alpha1.AllowedNamespaces{
				From: new(v1alpha1.NamespacesFromSelector),
				// The API server labels each namespace with its name.
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}},
			},
		}}
	}
	const refused = v1alpha1.ReasonStorageNotAllowed
	return map[string]Usage{
		"nothing said": {func(string) *v1alpha1.StorageUsagePolicy { return nil }, refused},
		"All":          {from(v1alpha1.NamespacesFromAll, ""), ""},
		"Same":         {from(v1alpha1.NamespacesFromSame, ""), refused},
		"Selector":     {selected, ""},
		"Selector of others": {
			func(string) *v1alpha1.StorageUsagePolicy { return selected("other") }, refused,
		},
		"another directory": {
			from(v1alpha1.NamespacesFromAll, "/{cluster}/{namespace}"), v1alpha1.ReasonDirectoryNotAllowed,
		},
		"its directory": {from(v1alpha1.NamespacesFromAll, "/uploads"), ""},
	}
}
