package policy

import (
	"fmt"
	"path"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// NormalizeDirectory returns the canonical spelling of a directory of a storage: "/a" and "a/" are both "a". The
// storage's root is "". It also accepts directories that layout.NormalizeDirectory refuses, because it only compares. A
// ".." never leaves the root.
func NormalizeDirectory(directory string) string {
	if normal, err := layout.NormalizeDirectory(directory); err == nil {
		return normal
	}
	return strings.TrimPrefix(path.Clean("/"+directory), "/")
}

// directoryKey identifies a directory of a storage. A reference without a namespace means namespace.
func directoryKey(namespace string, storage v1alpha1.ObjectReference, directory string) string {
	return DirectoryKeys(namespace, storage, directory)[0]
}

// DirectoryKeys returns the directoryKey of a directory and of every directory around it, innermost first, without the
// storage's root. Two directories overlap if the first key of one is among the keys of the other. Repositories must not
// overlap: a program that lists one of them would find the files of the other.
func DirectoryKeys(namespace string, storage v1alpha1.ObjectReference, directory string) []string {
	if storage.Namespace != "" {
		namespace = storage.Namespace
	}
	directory = NormalizeDirectory(directory)
	keys := []string{namespace + "/" + storage.Name + "/" + directory}
	for end := strings.LastIndexByte(directory, '/'); end > 0; end = strings.LastIndexByte(directory[:end], '/') {
		keys = append(keys, namespace+"/"+storage.Name+"/"+directory[:end])
	}
	return keys
}

// DirectoryMistakes explains why a directory cannot hold a repository.
func DirectoryMistakes(field, directory string) []Mistake {
	if directory == "" {
		return nil // The directory is inferred.
	}
	if _, err := layout.NormalizeDirectory(directory); err != nil {
		return []Mistake{{Field: field, Reason: v1alpha1.ReasonResourceValidationFailed, Message: err.Error()}}
	}
	return nil
}

// Older reports whether a precedes b where both claim the same place or directory: the object that was created first,
// and within the same second the object whose namespace and name sort first. Every such decision must use Older.
func Older(a, b metav1.Object) bool {
	first, second := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if !first.Equal(&second) {
		return first.Before(&second)
	}
	return a.GetNamespace()+"/"+a.GetName() < b.GetNamespace()+"/"+b.GetName()
}

// The elements of a directoryPrefix that stand for a name.
const (
	prefixNamespace = "{namespace}"
	prefixCluster   = "{cluster}"
)

// DirectoryPrefix returns the directory at or below which a storage wants the Repositories of a namespace, normalised.
// It is "" if the storage lets the namespace choose. cluster is the name of the cluster; without one, {cluster} stands
// for nothing and no directory fits.
func DirectoryPrefix(storage *v1alpha1.BackupStorage, cluster, namespace string) string {
	usage := storage.Spec.UsagePolicy
	if usage == nil || storage.Namespace == namespace {
		return ""
	}
	elements := strings.Split(usage.DirectoryPrefix, "/")
	for i, e := range elements {
		switch {
		case e == prefixNamespace:
			elements[i] = namespace
		case e == prefixCluster && cluster != "":
			elements[i] = cluster
		}
	}
	return NormalizeDirectory(strings.Join(elements, "/"))
}

// ClusterIn returns the element of a directory where the storage's directoryPrefix has {cluster}, for who does not know
// the name of the cluster. It is "" if there is none.
func ClusterIn(storage *v1alpha1.BackupStorage, directory string) string {
	if storage.Spec.UsagePolicy == nil {
		return ""
	}
	given := strings.Split(NormalizeDirectory(directory), "/")
	for i, e := range strings.Split(strings.Trim(storage.Spec.UsagePolicy.DirectoryPrefix, "/"), "/") {
		if e == prefixCluster && i < len(given) {
			return given[i]
		}
	}
	return ""
}

// Within reports whether a directory is the prefix, or lies below it. Nothing that cannot be a directory does. Every
// directory lies within "".
func Within(directory, prefix string) bool {
	normal, err := layout.NormalizeDirectory(directory)
	return prefix == "" || err == nil && (normal == prefix || strings.HasPrefix(normal, prefix+"/"))
}

// DirectoryRefusal explains why the Repositories of a namespace must not lie in a directory of a storage; "" if they
// can. cluster is the name of the cluster.
func DirectoryRefusal(storage *v1alpha1.BackupStorage, cluster, namespace, directory string) string {
	prefix := DirectoryPrefix(storage, cluster, namespace)
	if Within(directory, prefix) {
		return ""
	}
	return fmt.Sprintf("the usagePolicy of BackupStorage %s/%s allows the namespace %s only directories at or below "+
		"/%s, and not %q: choose a directory there", storage.Namespace, storage.Name, namespace, prefix, directory)
}
