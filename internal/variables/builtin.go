package variables

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Names of the volumes that every task with steps has, which are the values of ${INTERIM_VOLUME} and
// ${RESTIC_CACHE_VOLUME}.
const (
	// ScratchVolume is shared by all steps.
	ScratchVolume = "scratch"
	// WorkVolume belongs to the mover.
	WorkVolume = "work"
)

// ScratchDir is where steps and mover see ScratchVolume.
const ScratchDir = "/cairn/scratch"

// Builtin holds the variables that exist without anybody setting them. An empty variable is known but has no value
// here: naming it without a default is an error.
type Builtin struct {
	MoverImage     string
	Namespace      string
	BackupSession  string
	RestoreSession string
	// Snapshot is set only if the task works with a single repository.
	Snapshot    string
	InvokerKind string
	InvokerName string
	TargetKind  string
	TargetName  string
	TaskName    string
	// TargetHost, TargetPort and TargetImage describe a target that is a database.
	TargetHost, TargetPort, TargetImage string
	// DatabaseVersion of the target.
	DatabaseVersion string
	// TargetDatabase is the database that the target itself names.
	TargetDatabase string
	// Confirm is the UID with which a restore confirms that it overwrites existing data.
	Confirm string
}

// fixed lists the variables that decide which image runs: nobody can set them.
var fixed = []string{"moverImage", "imageRegistry", "imageRepo", "imageTag"}

// IsFixed reports whether neither an Addon nor a policy can set a variable.
func IsFixed(name string) bool { return slices.Contains(fixed, name) }

// byName returns the variables by the names that Functions use.
func (b Builtin) byName() map[string]string {
	registry, repo, tag := splitImage(b.MoverImage)
	claim := ""
	if b.TargetKind == v1alpha1.KindPersistentVolumeClaim {
		claim = b.TargetName
	}
	return map[string]string{
		"moverImage":                b.MoverImage,
		"imageRegistry":             registry,
		"imageRepo":                 repo,
		"imageTag":                  tag,
		"namespace":                 b.Namespace,
		"backupSession":             b.BackupSession,
		"restoreSession":            b.RestoreSession,
		"backupVerificationSession": "",
		"snapshot":                  b.Snapshot,
		"invokerKind":               b.InvokerKind,
		"invokerName":               b.InvokerName,
		"targetKind":                b.TargetKind,
		"targetName":                b.TargetName,
		"targetHost":                b.TargetHost,
		"targetPort":                b.TargetPort,
		"targetImage":               b.TargetImage,
		"targetVersion":             b.DatabaseVersion,
		"targetDatabase":            b.TargetDatabase,
		"confirm":                   b.Confirm,
		"taskName":                  b.TaskName,
		"enableCache":               "false",
		"interimDataDir":            ScratchDir,
		"scratchDir":                ScratchDir,
		"licenseApiService":         "",
		"PVC_NAME":                  claim,
		"DB_VERSION":                b.DatabaseVersion,
		"INTERIM_VOLUME":            ScratchVolume,
		"RESTIC_CACHE_VOLUME":       WorkVolume,
	}
}

// Names returns the names of all built-in variables, sorted.
func Names() []string { return slices.Sorted(maps.Keys(Builtin{}.byName())) }

// splitImage splits an image's name. The registry is empty if the name has none; a digest is not a tag.
func splitImage(image string) (registry, repo, tag string) {
	repo, _, _ = strings.Cut(image, "@")
	if first, rest, found := strings.Cut(repo, "/"); found && (strings.ContainsAny(first, ".:") ||
		first == "localhost") {
		registry, repo = first, rest
	}
	if i := strings.LastIndexByte(repo, ':'); i >= 0 {
		repo, tag = repo[:i], repo[i+1:]
	}
	return registry, repo, tag
}
