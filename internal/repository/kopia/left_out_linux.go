package kopia

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// rules say what a backup left out. A restore that deletes what the snapshot does not have keeps these entries.
// Snapshots of older versions have no rules.
type rules struct {
	Exclude []string           `json:",omitempty"`
	Mounts  []repository.Mount `json:",omitempty"`
	// LeftOut are the stored names of entries that the backup left out without being told to: entries that it could not
	// read, that were gone when it looked them up, or that lie on another file system. More means that there were too
	// many to keep.
	LeftOut []string `json:",omitempty"`
	// Restless are the stored names of directories that changed after the backup had listed them: it can lack an entry
	// that moved there.
	Restless []string `json:",omitempty"`
	More     bool     `json:",omitempty"`

	restless int64 // directories, also those that Restless has no room for
}

// Limits of LeftOut and Restless together: whoever lists the snapshots of a repository holds the rules of all of them
// in memory.
const maxLeftOut, maxLeftOutBytes = 100, 8 << 10

// leaveOut adds an entry by its path in the snapshot.
func (l *rules) leaveOut(p string) { l.add(&l.LeftOut, p) }

// unrest adds a directory that changed after it was listed.
func (l *rules) unrest(p string) {
	if l.add(&l.Restless, p) {
		l.restless++
	}
}

// add reports whether p is not there yet.
func (l *rules) add(to *[]string, p string) bool {
	p = path.Clean(p)
	if slices.Contains(*to, p) {
		return false
	}
	bytes := len(p)
	for _, other := range slices.Concat(l.LeftOut, l.Restless) {
		bytes += len(other)
	}
	if len(l.LeftOut)+len(l.Restless) >= maxLeftOut || bytes > maxLeftOutBytes {
		l.More = true
		return true
	}
	*to = append(*to, p)
	return true
}

// merge adds the entries and directories of other.
func (l *rules) merge(other rules) {
	for _, p := range other.LeftOut {
		l.leaveOut(p)
	}
	for _, p := range other.Restless {
		l.add(&l.Restless, p)
	}
	l.restless += other.restless
	l.More = l.More || other.More
}

// encodePath returns a path as the snapshot stores it.
func encodePath(raw string) string {
	elements := strings.Split(raw, "/")
	for i, e := range elements {
		elements[i] = encodeName(e)
	}
	return strings.Join(elements, "/")
}

// excludes reports whether the user excluded an entry from the backup.
func (w *walk) excludes(ref *dirRef, raw string, dir bool) bool {
	return w.exclude != nil && w.exclude.Excludes(path.Join(ref.path(), raw), dir)
}

// leaveOut notes that an entry is not in the snapshot, although nobody excluded it.
func (w *walk) leaveOut(ref *dirRef, raw string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left.leaveOut(encodePath(path.Join(ref.path(), raw)))
}

// leaveOutOfRestore notes an entry of an unfinished restore.
func (w *walk) leaveOutOfRestore(ref *dirRef, raw string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ofRestores++; w.ofRestores == 1 {
		w.ofARestore = path.Join(ref.path(), raw)
	}
}

// tellOfRestores says how many entries were left out because of their names: a user could have named a file so.
func (b *backup) tellOfRestores(wk *walk) {
	if wk.ofRestores == 0 || b.e.log == nil {
		return
	}
	b.e.log("warn", "backup", fmt.Sprintf("%s of unfinished restores left out, first %q: restore again, or delete or "+
		"rename them", text.Quantity(wk.ofRestores, "entry"), wk.ofARestore))
}

// tellOfUnrest says that the backup can lack entries: its directories never rested while it read them.
func (b *backup) tellOfUnrest(wk *walk) {
	if len(wk.left.Restless) == 0 || b.e.log == nil {
		return
	}
	b.e.log("warn", "backup", fmt.Sprintf("%s changed while the tree was read, first %q: what moved there meanwhile "+
		"can be missing; back up a snapshot of the volume to have it",
		text.Quantity(wk.left.restless, "directory"), wk.left.Restless[0]))
}

// rules returns what the backup left out.
func (b *backup) rules(wk *walk) *rules {
	out := &rules{Exclude: b.opt.Exclude, Mounts: b.opt.Mounts}
	wk.mu.Lock()
	defer wk.mu.Unlock()
	b.progress.mu.Lock()
	defer b.progress.mu.Unlock()
	out.merge(b.progress.left)
	out.merge(wk.left)
	return out
}
