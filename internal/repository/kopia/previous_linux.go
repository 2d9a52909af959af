package kopia

import (
	"cmp"
	"context"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
)

// kopia compares a file with the previous snapshot by time, size, mode and owner. This package compares also the stamp,
// and does so itself: kopia gets no previous snapshot, but asks each file whether it has an entry already.

// previousDir is a directory of a previous snapshot.
type previousDir struct {
	StreamType string          `json:"stream"`
	Entries    []previousEntry `json:"entries"` // directories and then others, each by name
	Stamps     []byte          `json:"cairnStamps"`

	dirs int // how many of the entries are directories
	id   object.ID
	text []byte // of the directory object; nil if it is long, and of all but the first of several
}

// previousEntry is a snapshot.DirEntry. Much of the time of a backup without changes goes into their decoding, so what
// needs a second decoder remains a string.
type previousEntry struct {
	Name    string             `json:"name"`
	Type    snapshot.EntryType `json:"type"`
	Mode    string             `json:"mode"`
	Size    int64              `json:"size"`
	UserID  uint32             `json:"uid"`
	GroupID uint32             `json:"gid"`
	Object  string             `json:"obj"`
}

// asWritten lets the decoder not look for names that come twice: kopia wrote the text. The decoder takes less than half
// the time of encoding/json. From Go 1.27 on it is encoding/json/v2.
var asWritten = jsontext.AllowDuplicateNames(true)

// previousDirs reads the directories of previous snapshots that stand at the same path. A directory that cannot be read
// is left out: its files are then read from the source.
func (w *walk) previousDirs(ctx context.Context, ids []object.ID) []*previousDir {
	var out []*previousDir
	for _, id := range ids {
		p := &previousDir{id: id}
		err := decodeDirBy(ctx, w.rep, id, p.read)
		if err != nil && w.unread != nil {
			w.unread(ctx, id, err)
		}
		if err != nil || p.StreamType != dirStream {
			continue
		}
		for p.dirs < len(p.Entries) && p.Entries[p.dirs].Type == snapshot.EntryTypeDirectory {
			p.dirs++
		}
		if len(out) > 0 {
			p.text = nil
		}
		out = append(out, p)
	}
	return out
}

// maxKept limits the memory for the text of a directory, which is needed until the directory is written again.
const maxKept = 1 << 20

// read reads the text of a directory object.
func (p *previousDir) read(rd object.Reader) error {
	if rd.Length() > maxKept {
		return json.UnmarshalRead(rd, p, asWritten)
	}
	p.text = make([]byte, rd.Length())
	if _, err := io.ReadFull(rd, p.text); err != nil {
		return err
	}
	return json.Unmarshal(p.text, p, asWritten)
}

// byName returns an entry of a sorted list.
func byName(entries []previousEntry, name string) *previousEntry {
	i, found := sort.Find(len(entries), func(i int) int { return strings.Compare(name, entries[i].Name) })
	if !found {
		return nil
	}
	return &entries[i]
}

// below returns the directories of a name in previous snapshots. Most of them are one and the same.
func below(previous []*previousDir, name string) []object.ID {
	var out []object.ID
	for _, p := range previous {
		if e := byName(p.Entries[:p.dirs], name); e != nil {
			if id, err := object.ParseID(e.Object); err == nil && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// entry returns the entry of a file that has this stamp and the same name, size, mode and owner. The stamp holds the
// time of the last write.
func (p *previousDir) entry(n *node, stamp uint64) *snapshot.DirEntry {
	if !hasStamp(p.Stamps, stamp) {
		return nil
	}
	e := byName(p.Entries[p.dirs:], n.name)
	if e == nil || e.Type != snapshot.EntryTypeFile || e.Size != n.size || e.UserID != n.owner.UserID ||
		e.GroupID != n.owner.GroupID {
		return nil
	}
	mode, err := strconv.ParseUint(cmp.Or(e.Mode, "0"), 0, 32)
	if err != nil || os.FileMode(mode) != n.mode {
		return nil
	}
	id, err := object.ParseID(e.Object)
	if err != nil {
		return nil
	}
	return &snapshot.DirEntry{
		Name: n.name, Type: snapshot.EntryTypeFile, Permissions: snapshot.Permissions(mode), FileSize: n.size,
		ModTime: fs.UTCTimestampFromTime(n.mtime), UserID: n.owner.UserID, GroupID: n.owner.GroupID, ObjectID: id,
	}
}

// DirEntryOrNil implements snapshot.HasDirEntryOrNil. It returns the entry of a file that is the same as in a previous
// snapshot. kopia then does not open the file.
func (f *fileNode) DirEntryOrNil(ctx context.Context) (*snapshot.DirEntry, error) {
	f.dir.stamps.add(f.stamp)
	for _, p := range f.dir.previous {
		if de := p.entry(&f.node, f.stamp); de != nil && !f.w.lost.touches(ctx, de.ObjectID) {
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

// DirEntryOrNil implements snapshot.HasDirEntryOrNil. The stamp of an attribute file is a hash of its content.
func (m *memFile) DirEntryOrNil(ctx context.Context) (*snapshot.DirEntry, error) {
	stamp := uint64(m.mtime.UnixNano())
	m.stamps.add(stamp)
	for _, p := range m.previous {
		if de := p.entry(&m.node, stamp); de != nil && !m.w.lost.touches(ctx, de.ObjectID) {
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
