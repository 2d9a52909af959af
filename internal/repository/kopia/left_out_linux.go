package kopia

import (
	"fmt"
	"path"
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
	More    bool     `json:",omitempty"`
}

// Limits of rules.LeftOut: whoever lists the snapshots of a repository holds the rules of all of them in memory.
const maxLeftOut, maxLeftOutBytes = 100, 8 << 10

// leaveOut adds an entry by its path in the snapshot.
func (l *rules) leaveOut(p string) {
	p = path.Clean(p)
	bytes := len(p)
	for _, other := range l.LeftOut {
		if other == p {
			return
		}
		bytes += len(other)
	}
	if len(l.LeftOut) == maxLeftOut || bytes > maxLeftOutBytes {
		l.More = true
		return
	}
	l.LeftOut = append(l.LeftOut, p)
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

// rules returns what the backup left out.
func (b *backup) rules(wk *walk) *rules {
	out := &rules{Exclude: b.opt.Exclude, Mounts: b.opt.Mounts}
	wk.mu.Lock()
	defer wk.mu.Unlock()
	b.progress.mu.Lock()
	defer b.progress.mu.Unlock()
	for _, l := range []rules{wk.left, b.progress.left} {
		for _, p := range l.LeftOut {
			out.leaveOut(p)
		}
		out.More = out.More || l.More
	}
	return out
}
