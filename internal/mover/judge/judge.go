// Package judge decides whether a finished backup counts as a success. It is pure.
package judge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/text"
)

// Scopes identify which part of a volume or database was chosen. Sizes of different scopes can't be compared. A new
// snapshot gets the first one. The others are those that earlier versions gave to the same part: without them the first
// backup after an upgrade would be compared with nothing.
func Scopes(c task.Component, exclude []string) []string {
	s := c.Stream
	switch {
	case s == nil:
		return []string{digest([]byte(Below(c.Path) + "\x00" + strings.Join(exclude, "\x00")))}
	case s.Scope == "":
		return []string{commandLine(s)}
	}
	return []string{s.Scope, commandLine(s)}
}

// commandLine identifies a command line. It is in repositories: it must stay as it is.
func commandLine(s *v1alpha1.ResolvedStream) string {
	type argument struct{ value, ifKey string }
	args := make([]argument, len(s.Args))
	for i, a := range s.Args {
		args[i] = argument{a.Value, a.IfKey}
	}
	return digest(fmt.Appendf(nil, "%q\x00%q", s.Command, args))
}

// digest identifies a text.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// FindPrevious sorts the snapshots of a source, which come oldest first. It returns the one that an earlier mover of
// this run left, and the newest other one of one of the scopes. Each can be nil. One that seems to be from after now
// counts only if there is no other: a node's clock was ahead, or this one's is behind.
func FindPrevious(
	all []repository.Snapshot, uid string, scopes []string, now time.Time,
) (done, previous *repository.Snapshot) {
	var ahead *repository.Snapshot
	for i := range all {
		switch s := &all[i]; {
		case s.Tags[TagSnapshotUID] == uid:
			done = s
		case !slices.Contains(scopes, s.Tags[TagScope]):
		case s.Start.After(now):
			ahead = s
		default:
			previous = s
		}
	}
	return done, cmp.Or(previous, ahead)
}

// Judge returns why the data that was read is no backup, nil if it is one. Wrong leniency could not be repaired: when
// somebody notices, the data can be gone from the volume.
func Judge(p *v1alpha1.SuccessPolicy, s repository.Snapshot, previous *repository.Snapshot) *failure.Failure {
	missing := s.Unreadable + s.AttributesUnreadable
	switch {
	case missing > 0 && (!p.AllowsUnreadable() || isEmptySnapshot(s)):
		return failure.New(v1alpha1.ReasonUnreadable, failure.Unreadable)
	case isEmptySnapshot(s) && !p.AllowsEmpty():
		return EmptyFailure(p, "there is no file to back up: the volume is empty, or everything in it is excluded",
			NotEmpty(previous))
	case s.Changed > 0 && !p.AllowsChanged():
		return failure.New(v1alpha1.ReasonChanged,
			text.Quantity(s.Changed, "file")+" changed at each read, and may be inconsistent: stop the writers with a "+
				"hook, or back up a snapshot of the volume; successPolicy.changed: Allow would accept that")
	case previous != nil && hasShrunk(s, *previous, p.MaxShrink()):
		return failure.New(v1alpha1.ReasonShrunk,
			fmt.Sprintf("only %s in %s are left of the %s in %s of the last backup",
				task.FormatSize(s.Bytes), text.Quantity(entries(s), "file"), task.FormatSize(previous.Bytes),
				text.Quantity(entries(*previous), "file"))+acceptShrink+"raise successPolicy.maxShrinkPercent")
	}
	return nil
}

// acceptShrink says what accepts a backup of less than before.
const acceptShrink = ": if that is right, accept it once with acceptShrink of a BackupSession (cairn trigger " +
	"--accept-shrink), or "

// EmptyFailure is the failure of a backup of nothing. what says what is empty. previous is the last backup, nil if
// there is none that held something: then the policy has to accept the loss as well.
func EmptyFailure(p *v1alpha1.SuccessPolicy, what string, previous *repository.Snapshot) *failure.Failure {
	accept := "successPolicy.empty: Allow would accept that"
	if previous != nil {
		what += butHeld(previous)
		if p.MaxShrink() < 100 {
			accept = "successPolicy.empty: Allow and, once, acceptShrink of a BackupSession (cairn trigger " +
				"--accept-shrink) would accept that"
		}
	}
	return failure.New(v1alpha1.ReasonEmpty, what+"; "+accept)
}

// butHeld adds to a message what the last backup holds.
func butHeld(previous *repository.Snapshot) string {
	return ", but its last backup holds " + task.FormatSize(previous.Bytes)
}

// NoData returns why the dump of a database that holds no data is no backup, nil if it is one. Such a dump has a size:
// only TagNoData tells it from one with data.
func NoData(p *v1alpha1.SuccessPolicy, previous *repository.Snapshot) *failure.Failure {
	const what = "the database, or what the parameters choose of it, holds no data to back up"
	if previous != nil && previous.Tags[TagNoData] != "" {
		previous = nil
	}
	switch {
	case !p.AllowsEmpty():
		return EmptyFailure(p, what, previous)
	case previous != nil && p.MaxShrink() < 100:
		return failure.New(v1alpha1.ReasonShrunk, what+butHeld(previous)+acceptShrink+
			"set successPolicy.maxShrinkPercent to 100")
	}
	return nil
}

// isEmptySnapshot reports whether a snapshot holds only directories.
func isEmptySnapshot(s repository.Snapshot) bool { return entries(s) == 0 }

// entries returns the number of entries that are no directories.
func entries(s repository.Snapshot) int64 { return s.Files + s.Symlinks + s.Special }

// hasShrunk reports whether more than percent of the bytes, or of the files, of the last backup is gone: a volume can
// lose nearly all of its files and keep a big one.
func hasShrunk(s, previous repository.Snapshot, percent int64) bool {
	if percent >= 100 {
		return false
	}
	if isEmptySnapshot(s) {
		return !isEmptySnapshot(previous)
	}
	lost := func(was, is int64) bool { return float64(was-is)*100 > float64(was)*float64(percent) }
	return lost(previous.Bytes, s.Bytes) || lost(entries(previous), entries(s))
}

// NotEmpty returns the last backup if it holds something, otherwise nil: the volume was perhaps mounted without its
// data.
func NotEmpty(previous *repository.Snapshot) *repository.Snapshot {
	if previous == nil || isEmptySnapshot(*previous) {
		return nil
	}
	return previous
}

// Below returns a path of a task relative to the volume. "" is the volume itself.
func Below(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// Tags of the engine's snapshots. With the first two, a mover finds a snapshot that an earlier mover finished but did
// not report.
const (
	TagSnapshotUID   = "snapshot-uid"
	TagComponent     = "component"
	TagBackupSession = "backup-session"
	// TagScope identifies which part of the volume was backed up.
	TagScope = "scope"
	// TagLongest is the size in bytes of the longest statement of a dump in SQL.
	TagLongest = "longest-statement"
	// TagNoData marks the dump of a database that held no data.
	TagNoData = "no-data"
)
