package variables

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Names of the volumes that every task with steps has, as ${INTERIM_VOLUME} and ${RESTIC_CACHE_VOLUME} give them.
const (
	// ScratchVolume is shared by all steps.
	ScratchVolume = "scratch"
	// WorkVolume is the mover's own.
	WorkVolume = "work"
)

// ScratchDir is where steps and mover see ScratchVolume.
const ScratchDir = "/cairn/scratch"

// Builtin are the variables that are there without anybody setting them. One that is empty is known but has no value here:
// naming it without a default is an error.
type Builtin struct {
	MoverImage     string
	Namespace      string
	BackupSession  string
	RestoreSession string
	// Snapshot is known only where the task works with one repository.
	Snapshot    string
	InvokerKind string
	InvokerName string
	TargetKind  string
	TargetName  string
	TaskName    string
	// TargetHost, TargetPort and TargetImage are those of a target that is a database.
	TargetHost, TargetPort, TargetImage string
	// DatabaseVersion of the target.
	DatabaseVersion string
	// TargetDatabase is the one that the target itself names.
	TargetDatabase string
	// Confirm is the UID that a restore into what holds data names.
	Confirm string
}

// fixed are the variables that say which image runs: nobody may set them.
var fixed = []string{"moverImage", "imageRegistry", "imageRepo", "imageTag"}

// Fixed says whether neither an Addon nor a policy may set a variable.
func Fixed(name string) bool { return slices.Contains(fixed, name) }

// byName gives the variables as a Function writes them.
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

// Names of all built-in variables, in order.
func Names() []string { return slices.Sorted(maps.Keys(Builtin{}.byName())) }

// splitImage takes an image's name apart. An image without a registry has an empty one; a digest is no tag.
func splitImage(image string) (registry, repo, tag string) {
	repo, _, _ = strings.Cut(image, "@")
	if first, rest, found := strings.Cut(repo, "/"); found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		registry, repo = first, rest
	}
	if i := strings.LastIndexByte(repo, ':'); i >= 0 {
		repo, tag = repo[:i], repo[i+1:]
	}
	return registry, repo, tag
}
