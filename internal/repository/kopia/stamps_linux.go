package kopia

import (
	"cmp"
	"context"
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
	mu        sync.Mutex
	all, torn []uint64
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

// stampWriter is what kopia's uploader writes to. It adds the stamps to the directories, and writes only those that
// changed.
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
		if ref := s.walk.openDir(dir); ref != nil {
			return &dirWriter{
				Writer: w, stamps: ref.stamps, before: ref.before(),
				sound: func(id object.ID) bool { return s.walk.lost.isSound(ctx, id) },
			}
		}
	}
	return w
}

// VerifyObject implements repo.RepositoryWriter. kopia calls it for the entry of an unchanged file, to be safe from
// forged ones. Ours come from the previous snapshot, which kopia itself trusts without a check.
func (s *stampWriter) VerifyObject(context.Context, object.ID) ([]content.ID, error) { return nil, nil }

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
