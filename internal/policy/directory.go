package policy

import (
	"path"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// NormalizeDirectory gives the one spelling of a directory of a storage: without slashes at its ends, without empty
// segments and dots. "/a", "a/" and "./a//" are all "a"; the storage's root is "". A ".." never leaves the root.
func NormalizeDirectory(directory string) string {
	return strings.TrimPrefix(path.Clean("/"+directory), "/")
}

// DirectoryKey identifies a directory of a storage. A reference without a namespace means namespace.
func DirectoryKey(namespace string, storage v1alpha1.ObjectReference, directory string) string {
	if storage.Namespace != "" {
		namespace = storage.Namespace
	}
	return namespace + "/" + storage.Name + "/" + NormalizeDirectory(directory)
}
