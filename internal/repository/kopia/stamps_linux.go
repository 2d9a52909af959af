package kopia

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/sys/unix"
)

// kopia's entries have no field for the inode and for the time of the last change (ctime). Without them a file that is
// replaced by one of equal size and time would never be backed up. So each directory object of a snapshot holds one
// stamp for each of its regular files. The stamps are an additional field of the JSON that kopia writes: they need no
// object of their own, are read with the directory, and kopia's own program ignores them.
const stampsField = "cairnStamps"

const stampSize = 8

// stampOf returns the hash of what no program can keep when it writes to a file or replaces it. It is stored: another
// hash means that every file is read once more. The device is not part of it, because it changes with the node. With
// noInode only name and time of the last write count.
func stampOf(name string, st *unix.Stat_t, noInode bool) uint64 {
	values := [5]int64{st.Mtim.Sec, st.Mtim.Nsec, int64(st.Ino), st.Ctim.Sec, st.Ctim.Nsec}
	if noInode {
		values[2], values[3], values[4] = 0, 0, 0
	}
	var b [len(values) * 8]byte
	for i, v := range values {
		binary.LittleEndian.PutUint64(b[i*8:], uint64(v))
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(b[:])
	_, _ = d.WriteString(name)
	return d.Sum64()
}

// stamps collects the stamps of a directory while it is read.
type stamps struct {
	// written is the directory in a previous snapshot, or nil.
	written   *previousDir
	mu        sync.Mutex
	all, torn []uint64
}

// newStamps returns the stamps of a directory that stands in previous snapshots.
func newStamps(previous []*previousDir) *stamps {
	s := &stamps{}
	if len(previous) > 0 && len(previous[0].text) > 0 {
		s.written = previous[0]
	}
	return s
}

func (s *stamps) add(stamp uint64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, stamp)
}

// drop takes a stamp out. The next backup, or the next pass of this one, reads the file again.
func (s *stamps) drop(stamp uint64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.torn = append(s.torn, stamp)
}

// encode returns the stamps in ascending order: an unchanged directory gives the same bytes.
func (s *stamps) encode() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.all)
	slices.Sort(s.torn)
	out := make([]byte, 0, len(s.all)*stampSize)
	for _, stamp := range s.all {
		if _, torn := slices.BinarySearch(s.torn, stamp); !torn {
			out = binary.BigEndian.AppendUint64(out, stamp)
		}
	}
	return out
}

// stampWriter is what kopia's uploader writes to. It adds the stamps to the directories.
type stampWriter struct {
	repo.RepositoryWriter
	walk *walk // of the pass under way
	// before is called before each flush.
	before func(context.Context) error

	mu    sync.Mutex
	ended bool
}

// end says that the last pass has ended. Nothing of a checkpoint is written after it has returned.
func (s *stampWriter) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// PutManifest implements repo.RepositoryWriter. kopia's uploader puts only checkpoints, and its end does not wait for
// one that is under way. Nobody would delete that one, and the next backup would continue it.
func (s *stampWriter) PutManifest(
	ctx context.Context, labels map[string]string, payload any,
) (manifest.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return "", nil
	}
	return s.RepositoryWriter.PutManifest(ctx, labels, payload)
}

// Flush implements repo.RepositoryWriter. kopia's uploader flushes checkpoints. kopia does not delete a manifest that
// another goroutine flushes meanwhile.
func (s *stampWriter) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	if err := s.before(ctx); err != nil {
		return err
	}
	return s.RepositoryWriter.Flush(ctx)
}

// NewObjectWriter implements repo.RepositoryWriter. kopia describes a directory by its path.
func (s *stampWriter) NewObjectWriter(ctx context.Context, opt object.WriterOptions) object.Writer {
	w := s.RepositoryWriter.NewObjectWriter(ctx, opt)
	if dir, ok := strings.CutPrefix(opt.Description, "DIR:"); ok {
		if found := s.walk.stampsOf(dir); found != nil {
			d := &dirWriter{Writer: w, stamps: found}
			if p := found.written; p != nil && s.walk.lost.keeps(ctx, p.id) {
				d.same = p
			}
			return d
		}
	}
	return w
}

// VerifyObject implements repo.RepositoryWriter. kopia calls it for the entry of an unchanged file, to be safe from
// forged ones. Ours come from the previous snapshot, which kopia itself trusts without a check.
func (s *stampWriter) VerifyObject(context.Context, object.ID) ([]content.ID, error) { return nil, nil }

// dirWriter writes a directory object and adds its stamps to it. It writes nothing as long as the text is that of a
// previous snapshot: most directories did not change, and in kopia each write waits for all reads, and they for it.
type dirWriter struct {
	object.Writer
	stamps *stamps
	held   []byte // the last bytes that were not written yet
	same   *previousDir
	passed int // bytes of the text of same
}

// endOfDir is the end of a directory object, which json.Encoder writes.
const endOfDir = "}\n"

// Write implements io.Writer. It holds back what could be the end of the object.
func (d *dirWriter) Write(p []byte) (int, error) {
	all := p
	if len(d.held) > 0 {
		all = append(d.held, p...)
	}
	end := max(0, len(all)-len(endOfDir))
	if err := d.put(all[:end]); err != nil {
		return 0, err
	}
	d.held = slices.Clone(all[end:])
	return len(p), nil
}

// put writes the next bytes, unless all of the text is that of the previous snapshot so far.
func (d *dirWriter) put(p []byte) error {
	if d.same != nil && bytes.HasPrefix(d.same.text[d.passed:], p) {
		d.passed += len(p)
		return nil
	}
	if err := d.differ(); err != nil {
		return err
	}
	_, err := d.Writer.Write(p)
	return err
}

// differ writes what was the same.
func (d *dirWriter) differ() error {
	if d.same == nil {
		return nil
	}
	_, err := d.Writer.Write(d.same.text[:d.passed])
	d.same = nil
	return err
}

// Result implements object.Writer.
func (d *dirWriter) Result() (object.ID, error) {
	found := d.stamps.encode()
	if len(found) > 0 && string(d.held) == endOfDir {
		if err := d.put(fieldOf(found)); err != nil {
			return object.EmptyID, err
		}
	}
	if err := d.put(d.held); err != nil {
		return object.EmptyID, err
	}
	if d.same != nil && d.passed == len(d.same.text) {
		return d.same.id, nil
	}
	if err := d.differ(); err != nil {
		return object.EmptyID, err
	}
	return d.Writer.Result()
}

// fieldOf returns the field of the stamps, which follows another field.
func fieldOf(found []byte) []byte {
	out := append([]byte(nil), `,"`+stampsField+`":"`...)
	return append(base64.StdEncoding.AppendEncode(out, found), '"')
}

// hasStamp reports whether a stamp is among encoded ones.
func hasStamp(encoded []byte, stamp uint64) bool {
	lo, hi := 0, len(encoded)/stampSize
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := cmp.Compare(binary.BigEndian.Uint64(encoded[mid*stampSize:]), stamp); {
		case c == 0:
			return true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}
