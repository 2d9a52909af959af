// Package layout describes what lies in a backend beside the backups: where each file is, and what it contains. All
// paths are relative to the storage's prefix, without a leading slash. The package is pure, so it is safe for
// concurrent use.
package layout

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDirectory bounds a directory in bytes, so that every path below it fits into an S3 key.
const maxDirectory = 512

// reserved holds the names that have a meaning inside a repository's directory. Another repository must not lie in
// one of them.
var reserved = map[string]bool{
	"kopia": true, "snapshots": true, "removed": true, "repository": true,
	"repository.yaml": true, "metadata.yaml": true,
}

// NormalizeDirectory returns the only spelling of a repository's directory: "/a", "a/" and "//a//" are all "a". It
// refuses an empty directory, "." and "..", control characters, text that is not UTF-8, and elements with a meaning
// of their own: those in reserved.
func NormalizeDirectory(dir string) (string, error) {
	if !utf8.ValidString(dir) {
		return "", fmt.Errorf("directory %q is not UTF-8", dir)
	}
	if strings.ContainsFunc(dir, unicode.IsControl) {
		return "", fmt.Errorf("directory %q contains a control character", dir)
	}
	var elements []string
	for e := range strings.SplitSeq(dir, "/") {
		switch {
		case e == "":
			continue
		case e == "." || e == "..":
			return "", fmt.Errorf("directory %q must not contain %q", dir, e)
		case strings.TrimSpace(e) != e:
			return "", fmt.Errorf("directory %q has an element that begins or ends with a space", dir)
		case reserved[e]:
			return "", fmt.Errorf("directory %q must not contain %q: the name is reserved", dir, e)
		}
		elements = append(elements, e)
	}
	if len(elements) == 0 {
		return "", errors.New("directory is empty")
	}
	out := strings.Join(elements, "/")
	if len(out) > maxDirectory {
		return "", fmt.Errorf("directory has %d bytes, the limit is %d", len(out), maxDirectory)
	}
	return out, nil
}

// StorageMetadataPath returns the path of the StorageMetadata.
func StorageMetadataPath() string { return "metadata.yaml" }

// RepositoryPath returns the path of the RepositoryMetadata of a normalized directory.
func RepositoryPath(directory string) string { return path.Join(directory, "repository.yaml") }

// EnginePath returns the prefix of the engine's own data. It ends with a slash.
func EnginePath(directory string) string { return path.Join(directory, "kopia") + "/" }

// SnapshotsPath returns the directory that holds one directory per Snapshot.
func SnapshotsPath(directory string) string { return path.Join(directory, "snapshots") }

// SnapshotComponentPath returns the path of the ComponentResult of a component of a Snapshot.
func SnapshotComponentPath(directory, snapshot, component string) string {
	return path.Join(SnapshotsPath(directory), snapshot, component+".yaml")
}

// ParseSnapshotComponentPath undoes SnapshotComponentPath. ok is false for any other path.
func ParseSnapshotComponentPath(directory, p string) (snapshot, component string, ok bool) {
	rest, ok := strings.CutPrefix(p, SnapshotsPath(directory)+"/")
	if !ok {
		return "", "", false
	}
	snapshot, file, ok := strings.Cut(rest, "/")
	component, isYAML := strings.CutSuffix(file, ".yaml")
	if !ok || !isYAML || snapshot == "" || component == "" || strings.Contains(component, "/") {
		return "", "", false
	}
	return snapshot, component, true
}

// SnapshotPath returns the directory of one Snapshot.
func SnapshotPath(directory, snapshot string) string {
	return path.Join(SnapshotsPath(directory), snapshot)
}

// RemovedPath returns the directory that holds one Removal for each recently removed Snapshot.
func RemovedPath(directory string) string { return path.Join(directory, "removed") }

// RemovalPath returns the path of the Removal of the Snapshot with this UID.
func RemovalPath(directory, uid string) string {
	return path.Join(RemovedPath(directory), uid+".yaml")
}
