package policy

import (
	"path"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// NormalizeDirectory gives the one spelling of a directory of a storage, "/a" and "a/" both being "a", also where
// layout.NormalizeDirectory refuses the directory: to compare is not to accept. The storage's root is "". A ".." never
// leaves the root.
func NormalizeDirectory(directory string) string {
	if normal, err := layout.NormalizeDirectory(directory); err == nil {
		return normal
	}
	return strings.TrimPrefix(path.Clean("/"+directory), "/")
}

// DirectoryKey identifies a directory of a storage. A reference without a namespace means namespace.
func DirectoryKey(namespace string, storage v1alpha1.ObjectReference, directory string) string {
	return DirectoryKeys(namespace, storage, directory)[0]
}

// DirectoryKeys are the DirectoryKey of a directory and of every directory that it lies in, from the inside out, without
// the storage's root. Two directories overlap, which two Repositories must not, where the first key of one is among the keys
// of the other: a program that lists one of them finds the other's files.
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

// directoryMistakes says why no repository may lie in a directory.
func directoryMistakes(field, directory string) []Mistake {
	if directory == "" {
		return nil // It is inferred.
	}
	if _, err := layout.NormalizeDirectory(directory); err != nil {
		return []Mistake{{Field: field, Reason: v1alpha1.ReasonResourceValidationFailed, Message: err.Error()}}
	}
	return nil
}

// Older says whether a has the better right than b to what both want, a place or a directory: the one that was created
// first, and within the same second the one whose namespace and name come first. Everybody who judges must judge by this.
func Older(a, b metav1.Object) bool {
	first, second := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if !first.Equal(&second) {
		return first.Before(&second)
	}
	return a.GetNamespace()+"/"+a.GetName() < b.GetNamespace()+"/"+b.GetName()
}
