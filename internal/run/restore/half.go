package restore

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task"
)

// HalfRestored returns the name of the RestoreSession that has left a claim, or a database, with a part of its data, or
// that writes into it now. annotations are those of the claim or of the database's Lease, and target is the UID of the
// claim or database. It returns "" if there is none.
func HalfRestored(annotations map[string]string, target types.UID) string {
	if name, _, of := parseHalf(annotations); of == target {
		return name
	}
	return ""
}

// parseHalf reads AnnotationHalfRestored. An annotation goes along when an object is exported and created again, so it
// counts only for target.
func parseHalf(annotations map[string]string) (name string, by, target types.UID) {
	parts := strings.Split(annotations[v1alpha1.AnnotationHalfRestored], "/")
	if len(parts) != 3 {
		return "", "", ""
	}
	return task.RestoreOfMark(parts[0]), types.UID(parts[1]), types.UID(parts[2])
}

// Release makes the annotations of a claim, or of the Lease of a database, say that a restore ends. status is the one
// it ends with. claim is the name of the claim, or "" for a database, and target the UID of either. What stays half
// restored keeps its mark, also if an earlier restore has left it so and this one wrote nothing or only another part. A
// restore that wrote nothing has not used its confirmation.
// earlier is the restore that the mark names, or nil if it is gone: see HalfRestoredBy.
func Release(
	annotations map[string]string, s, earlier *v1alpha1.RestoreSession, status *v1alpha1.RestoreSessionStatus,
	claim string, target types.UID,
) {
	if !Holds(annotations, s.UID) {
		return
	}
	delete(annotations, v1alpha1.AnnotationRestoring)
	_, by, of := parseHalf(annotations)
	good := by == s.UID || of != target // nobody else has left this target half restored
	whole, untouched := left(status, claim)
	if untouched {
		ConfirmationOf(s).takeBack(annotations)
	} else { // an earlier version may have begun the restore
		ConfirmationOf(s).use(annotations)
	}
	switch {
	case whole && (good || ofEverything(s, status.Resolved, claim) || fulfils(s, earlier, claim)), untouched && good:
		delete(annotations, v1alpha1.AnnotationHalfRestored)
	case !untouched:
		markHalf(annotations, s, target) // a claim that the restore made had no UID to begin with
		if !whole && !fulfils(earlier, s, claim) {
			widenHalf(annotations, s.UID)
		}
	}
}

// ofEverything reports whether a restore brings back all that its Snapshot has for a claim, or for a database if claim
// is "". One of a part does not put in order what another restore has left.
func ofEverything(s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore, claim string) bool {
	params, source := catalog.RestoreParams(s.Spec.Addon), s.Spec.DataSource
	return params["include"] == "" && params["exclude"] == "" && !clientSelects(resolved, claim) &&
		(claim != "" || source == nil || len(source.Components) == 0) &&
		(s.Spec.OverwritePolicy == "" || s.Spec.OverwritePolicy == v1alpha1.OverwriteAlways)
}

// selecting are the options with which a client writes only a part of a dump into a database. All others, such as those
// of the connection or --no-owner, leave no data out. No restore begins with --one-database any more.
var selecting = map[string][]string{
	"mariadb": {"-o", "--one-database"},
	"mysql":   {"-o", "--one-database"},
	"pg_restore": {
		"-a", "-I", "-L", "-n", "-N", "-P", "-s", "-t", "-T", "--data-only", "--exclude-schema", "--filter",
		"--function", "--index", "--no-data", "--no-schema", "--schema", "--schema-only", "--section", "--table",
		"--trigger", "--use-list",
	},
}

// clientSelects reports whether an option tells the client of a database to leave out a part of what it reads.
func clientSelects(resolved *v1alpha1.ResolvedRestore, claim string) bool {
	for _, h := range resolved.Hosts {
		for i := range h.Volumes {
			stream := h.Volumes[i].Stream
			if h.Volumes[i].ClaimName != claim || stream == nil || len(stream.Command) == 0 {
				continue
			}
			options := selecting[path.Base(stream.Command[0])]
			if slices.ContainsFunc(stream.Args, func(a v1alpha1.ResolvedStreamArgument) bool {
				return slices.ContainsFunc(options, func(option string) bool { return isOption(a.Value, option) })
			}) {
				return true
			}
		}
	}
	return false
}

// isOption reports whether an argument is this option. A short option can have its value right behind it, and the name
// of a long one can be cut off, or have underscores.
func isOption(argument, option string) bool {
	name, _, _ := strings.Cut(argument, "=")
	if !strings.HasPrefix(option, "--") {
		return strings.HasPrefix(argument, option)
	}
	return len(name) > len("--") && strings.HasPrefix(option, strings.ReplaceAll(name, "_", "-"))
}

// markHalf marks a claim or a database as half restored, unless an earlier restore has left it so.
func markHalf(annotations map[string]string, s *v1alpha1.RestoreSession, target types.UID) {
	if HalfRestored(annotations, target) == "" {
		annotations[v1alpha1.AnnotationHalfRestored] = fmt.Sprintf("%s/%s/%s", s.Name, s.UID, target)
	}
}

// left reports whether a claim has all the data that a restore was to write into it, and whether it is as it was
// before. What a hook did is not known: hooks do not count.
func left(s *v1alpha1.RestoreSessionStatus, claim string) (whole, intact bool) {
	whole, intact = true, true
	for _, h := range s.Resolved.Hosts {
		for i := range h.Volumes {
			if h.Volumes[i].ClaimName != claim {
				continue
			}
			c := s.Components[h.Volumes[i].Component]
			whole = whole && (c.Phase == v1alpha1.RestoreSessionSucceeded || filledLater(c))
			intact = intact && untouched(s, &h.Volumes[i])
		}
	}
	return whole, intact
}

// filledLater reports whether the storage system fills the volume of a component, at once, when a pod mounts it first.
func filledLater(c v1alpha1.RestoredComponent) bool {
	return c.Phase == v1alpha1.RestoreSessionUnknown && c.Reason == v1alpha1.ReasonVolumeNotBound
}

// HalfRestoredOf says that a Snapshot was made of what a restore had left half written. It returns "" for any other.
func HalfRestoredOf(s *v1alpha1.Snapshot) string {
	by := task.RestoreOfMark(s.Annotations[v1alpha1.AnnotationHalfRestored])
	if by == "" {
		return ""
	}
	return "before it was made, RestoreSession " + by + " can have written into its target and did not end well"
}

// WithoutHalfRestored returns the Snapshots that were not made of what a restore had left half written.
func WithoutHalfRestored(snapshots []v1alpha1.Snapshot) []v1alpha1.Snapshot {
	return slices.DeleteFunc(slices.Clone(snapshots), func(s v1alpha1.Snapshot) bool {
		return HalfRestoredOf(&s) != ""
	})
}

// HalfRestoredMessage says why a restore of the latest Snapshot does not take newest, which was made of a half restored
// target: whether the target was put in order since, only its owner knows. snapshots are all of the Repository. before
// and now are those of the restore.
func HalfRestoredMessage(
	newest *v1alpha1.Snapshot, snapshots []v1alpha1.Snapshot, before Before, now time.Time,
) string {
	const byName = ": name the one to restore in dataSource.snapshot"
	message := fmt.Sprintf("the newest Snapshot is %s, but %s; ", newest.Name, HalfRestoredOf(newest))
	others := WithoutHalfRestored(snapshots)
	if other, _ := Latest(others, newest.Spec.Repository, before, now); other != nil {
		return message + "the newest from before is " + other.Name + byName
	}
	if last := LastWhole(others, before, now); last != nil {
		return message + "from before there is only " + stayMessage(last, now)
	}
	return message + "there is none from before" + byName
}
