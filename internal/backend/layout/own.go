package layout

import (
	"path"
	"regexp"
	"strings"
)

// SpareKey is the name of the spare key: a copy of the key without which nothing in a repository can be read.
// kopia does not know it, and its names never begin so.
const SpareKey = "kopia.key.copy"

// SpareKeyPaths returns the paths that the spare key can have: on an object store, and on a file system.
func SpareKeyPaths(directory string) []string {
	p := EnginePath(directory) + SpareKey
	return []string{p, p + ".f"}
}

// SpareOwnerPath returns the path of the copy of RepositoryMetadata, without which nobody knows whose a
// directory is. It lies among the engine's files under a name like those of kopia's, which does not know it.
func SpareOwnerPath(directory string) string { return EnginePath(directory) + "kopia.owner.copy" }

// SparePaths returns the paths of all second copies. A wipe removes them in this order, before anything else.
func SparePaths(directory string) []string {
	return append([]string{SpareOwnerPath(directory)}, SpareKeyPaths(directory)...)
}

// Parts returns the directories inside a repository's directory that have a meaning. RepositoryPath lies beside them.
func Parts(directory string) []string {
	return []string{
		SnapshotsPath(directory), path.Join(directory, "kopia"), path.Join(directory, "repository"),
		RemovedPath(directory),
	}
}

// IsOwn reports whether a path has a name that a repository gives to its own files, beside RepositoryMetadata and
// KeeperLeases. Other programs keep their data in directories of the same names: restic has a directory "snapshots",
// and KubeStash lets it write into "repository".
func IsOwn(directory, p string) bool {
	if IsTemporary(directory, p) {
		return !IsBeside(directory, p)
	}
	if _, _, ok := ParseSnapshotComponentPath(directory, p); ok {
		return true
	}
	if rest, ok := strings.CutPrefix(p, RemovedPath(directory)+"/"); ok {
		uid, isYAML := strings.CutSuffix(rest, ".yaml")
		return isYAML && uid != "" && !strings.Contains(uid, "/")
	}
	rest, ok := strings.CutPrefix(p, EnginePath(directory))
	return ok && isEngines(rest)
}

// IsTemporary reports whether a path has a name that a file of the repository has only while it is written. The
// directory must be one into which the repository writes.
func IsTemporary(directory, p string) bool {
	dir := path.Dir(p)
	rest, engines := strings.CutPrefix(p, EnginePath(directory))
	if !cairns.MatchString(path.Base(p)) {
		return engines && kopias.MatchString(rest) && isEngines(rest)
	}
	snapshots := SnapshotsPath(directory)
	return engines && (!strings.Contains(rest, "/") || shards.MatchString(path.Dir(rest))) ||
		path.Dir(dir) == snapshots || dir == RemovedPath(directory) || IsBeside(directory, p)
}

// IsBeside reports whether a path lies where a repository keeps RepositoryMetadata and KeeperLeases, beside its parts.
func IsBeside(directory, p string) bool {
	dir := path.Dir(p)
	return dir == directory || dir == KeeperPath(directory)
}

// The names that kopia gives to its files. An object store has the ID of a blob. A file system splits the ID into
// directories and adds ".f".
var (
	blobID = regexp.MustCompile(`^(kopia\.[a-z][\w.-]*|_log_[\w-]+|[lmnpqs][0-9a-f]{16,}[\w-]*|x[a-z][0-9][\w-]*)$`)
	temp   = regexp.MustCompile(`\.tmp\.[0-9a-f]+$`)
)

// The names of files that are being written: Cairn's, and kopia's on a volume. Cairn writes its own into the
// directories of kopia, too, where a file server has no other way to show only whole files.
var (
	cairns = regexp.MustCompile(`^\.cairn-tmp-[A-Z2-7]{26}$`)
	kopias = regexp.MustCompile(`(\.f|^\.shards)\.tmp\.[0-9a-f]{16}$`)
	shards = regexp.MustCompile(`^[\w.-]{1,3}(/[\w.-]{1,3})*$`)
)

// isEngines reports whether a path below EnginePath is a name of kopia's.
func isEngines(p string) bool {
	p = temp.ReplaceAllString(p, "") // what a killed process left
	if p == ".shards" {
		return true
	}
	id, onFiles := strings.CutSuffix(p, ".f")
	if onFiles {
		id = strings.ReplaceAll(id, "/", "")
	}
	return blobID.MatchString(id)
}
