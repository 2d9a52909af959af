package kopia

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
)

// kopia compares a file with the previous snapshot by time, size, mode and owner. This package compares also the stamp,
// and does so itself: kopia gets no previous snapshot, but asks each file whether it has an entry already.

// previousDir is a directory of a previous snapshot.
type previousDir struct {
	dirs, others []*snapshot.DirEntry // each by name
	stamps       []byte
}

// previousDirs reads the directories of previous snapshots that stand at the same path. A directory that cannot be read
// is left out: its files are then read from the source.
func (w *walk) previousDirs(ctx context.Context, ids []object.ID) []*previousDir {
	var out []*previousDir
	for _, id := range ids {
		o, err := w.readDir(ctx, id)
		if err != nil {
			continue
		}
		dirs := 0 // kopia sorts them to the front
		for dirs < len(o.Entries) && o.Entries[dirs].Type == snapshot.EntryTypeDirectory {
			dirs++
		}
		out = append(out, &previousDir{dirs: o.Entries[:dirs], others: o.Entries[dirs:], stamps: o.Stamps})
	}
	return out
}

// byName returns an entry of a sorted list.
func byName(entries []*snapshot.DirEntry, name string) *snapshot.DirEntry {
	i, found := slices.BinarySearchFunc(entries, name, func(de *snapshot.DirEntry, name string) int {
		return cmp.Compare(de.Name, name)
	})
	if !found {
		return nil
	}
	return entries[i]
}

// below returns the directories of a name in previous snapshots. Most of them are one and the same.
func below(previous []*previousDir, name string) []object.ID {
	var out []object.ID
	for _, p := range previous {
		if de := byName(p.dirs, name); de != nil && !slices.Contains(out, de.ObjectID) {
			out = append(out, de.ObjectID)
		}
	}
	return out
}

// entry returns the entry of a file of the same name, time, size, mode and owner.
func (p *previousDir) entry(n *node) *snapshot.DirEntry {
	de := byName(p.others, n.name)
	if de == nil || de.Type != snapshot.EntryTypeFile || de.FileSize != n.size ||
		de.ModTime != fs.UTCTimestampFromTime(n.mtime) || os.FileMode(de.Permissions) != n.mode ||
		de.UserID != n.owner.UserID || de.GroupID != n.owner.GroupID {
		return nil
	}
	return de
}

// DirEntryOrNil implements snapshot.HasDirEntryOrNil. It returns the entry of a file that is the same as in a previous
// snapshot. kopia then does not open the file.
func (f *fileNode) DirEntryOrNil(context.Context) (*snapshot.DirEntry, error) {
	f.dir.stamps.add(f.stamp)
	for _, p := range f.dir.previous {
		if de := p.entry(&f.node); de != nil && hasStamp(p.stamps, f.stamp) {
			f.w.same.Add(1)
			f.w.sameSize.Add(de.FileSize)
			f.w.progress.unchangedFile(de.FileSize)
			return de, nil
		}
	}
	return nil, nil
}

// addUnchanged adds the unchanged files to the statistics of kopia, which counts them as read.
func (w *walk) addUnchanged(s *snapshot.Stats) {
	n := int32(w.same.Load())
	s.CachedFiles += n
	s.NonCachedFiles -= n
	s.TotalFileSize += w.sameSize.Load()
}

// DirEntryOrNil implements snapshot.HasDirEntryOrNil. The time of an attribute file is a hash of its content.
func (m *memFile) DirEntryOrNil(context.Context) (*snapshot.DirEntry, error) {
	for _, p := range m.previous {
		if de := p.entry(&m.node); de != nil {
			return de, nil
		}
	}
	return nil, nil
}

// rootsOf returns the root directories of snapshots.
func rootsOf(mans []*snapshot.Manifest) []object.ID {
	var out []object.ID
	for _, m := range mans {
		if m.RootEntry != nil && m.RootEntry.Type == snapshot.EntryTypeDirectory &&
			!slices.Contains(out, m.RootEntry.ObjectID) {
			out = append(out, m.RootEntry.ObjectID)
		}
	}
	return out
}

// fullReadLabel is the label of a snapshot that says since when each of its files was read. A checkpoint has it too.
const fullReadLabel = "full-read"

// fullReadOf returns the time since when each file of a snapshot was read from the source. Snapshots without stamps
// have none.
func fullReadOf(m *snapshot.Manifest) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, m.Tags[fullReadLabel])
	return t, err == nil
}

// trusted returns the previous snapshots whose files need not be read again if they did not change. It records since
// when each file of the new snapshot was read: if there is no such snapshot, since now.
func (b *backup) trusted(all []*snapshot.Manifest) []*snapshot.Manifest {
	b.fullRead = b.e.now().UTC()
	var out []*snapshot.Manifest
	oldest := b.fullRead
	for _, m := range all {
		t, ok := fullReadOf(m)
		// A time in the future comes from a clock that was wrong. It must not put off the next full read for ever.
		if !ok || b.opt.FullReadEvery > 0 && b.fullRead.Sub(t).Abs() >= b.opt.FullReadEvery {
			continue
		}
		out = append(out, m)
		if t.Before(oldest) {
			oldest = t
		}
	}
	b.fullRead = oldest
	return out
}

// labels returns the labels of the snapshot, or of what is kept of an unfinished one.
func (b *backup) labels() map[string]string {
	if b.fullRead.IsZero() {
		return map[string]string{} // a stream
	}
	return map[string]string{fullReadLabel: b.fullRead.Format(time.RFC3339Nano)}
}

var (
	_ snapshot.HasDirEntryOrNil = (*fileNode)(nil)
	_ snapshot.HasDirEntryOrNil = (*memFile)(nil)
)
