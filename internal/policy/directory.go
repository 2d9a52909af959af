package policy

import (
	"path"
	"strings"

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
	if storage.Namespace != "" {
		namespace = storage.Namespace
	}
	return namespace + "/" + storage.Name + "/" + NormalizeDirectory(directory)
}

// directoryMistakes says why no repository may lie in a directory.
func directoryMistakes(field, directory string) []Mistake {
	if _, err := layout.NormalizeDirectory(directory); err != nil {
		return []Mistake{{Field: field, Reason: v1alpha1.ReasonResourceValidationFailed, Message: err.Error()}}
	}
	return nil
}

// OlderRepository says whether a has the better right to a directory than b: the one that was created first, and within
// the same second the one whose namespace and name come first. Everybody who judges must judge by this.
func OlderRepository(a, b *v1alpha1.Repository) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}
