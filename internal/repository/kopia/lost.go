package kopia

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"github.com/cairn-backup/cairn/internal/text"
)

// A pack can vanish from the storage: somebody deletes it, a rule of the bucket does, or a disk loses it. The index
// still names its contents, so kopia would take them for stored, and every later backup would refer to what is gone.
// So each backup compares the packs of the index with those of the storage, and sends again what is lost.

// lost is the contents whose packs are not in the storage, or are shorter than the index says, and those that turned
// out to be rotten.
type lost struct {
	mu    sync.RWMutex
	ids   map[content.ID]bool
	count atomic.Int64 // of ids
	w     repo.DirectRepositoryWriter
	read  *readBack
}

// findLost returns the contents that are lost. It reads the index before it lists the packs: other writers add packs
// meanwhile. A content that is marked as deleted can be lost, too: a backup that was to send it again can have been
// stopped in between.
func (e *repoEngine) findLost(ctx context.Context, w repo.DirectRepositoryWriter) (*lost, error) {
	index := w.ContentReader()
	ends := map[blob.ID]content.Info{} // the last content that the index knows in each pack
	err := index.IterateContents(ctx, content.IterateOptions{IncludeDeleted: true}, func(c content.Info) error {
		if endOf(c) > endOf(ends[c.PackBlobID]) {
			ends[c.PackBlobID] = c
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	lengths := make(map[blob.ID]int64, len(ends))
	for _, prefix := range content.PackBlobIDPrefixes {
		err := e.rep.BlobReader().ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			lengths[m.BlobID] = m.Length
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	packs := 0
	for pack, last := range ends {
		if cutOff(last, lengths[pack]) {
			packs++
		}
	}
	l := &lost{ids: map[content.ID]bool{}, w: w, read: newReadBack(e, w.Time())}
	if packs == 0 {
		return l, nil
	}
	err = index.IterateContents(ctx, content.IterateOptions{IncludeDeleted: true}, func(c content.Info) error {
		if _, known := ends[c.PackBlobID]; known && cutOff(c, lengths[c.PackBlobID]) {
			l.ids[c.ContentID] = true
		}
		return nil
	})
	l.count.Store(int64(len(l.ids)))
	if e.log != nil {
		e.log("warn", "backup", fmt.Sprintf("%s of the repository missing or cut off: what the backup needs of it is "+
			"sent again", text.Quantity(int64(packs), "pack")))
	}
	return l, err
}

// cutOff reports whether a pack of this length, 0 if it is not there, lacks a part of a content.
func cutOff(c content.Info, length int64) bool { return length < endOf(c) }

// endOf returns how long the pack of a content is at least.
func endOf(c content.Info) int64 { return int64(c.PackOffset) + int64(c.PackedLength) }

// has reports whether a content is lost, and was not sent again. Nothing is lost in a nil lost.
func (l *lost) has(id content.ID) bool {
	if l == nil || l.count.Load() == 0 {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.ids[id]
}

// touches reports whether a part of an object is lost.
func (l *lost) touches(ctx context.Context, id object.ID) bool {
	if l == nil || l.count.Load() == 0 {
		return false
	}
	parts, err := l.w.VerifyObject(ctx, id)
	if err != nil {
		return true
	}
	for _, part := range parts {
		if l.has(part) {
			return true
		}
	}
	return false
}

// isSound reports whether an object of one content is stored, not marked as deleted, and not in doubt: writing it again
// would change nothing.
func (l *lost) isSound(ctx context.Context, id object.ID) bool {
	part, _, whole := id.ContentID()
	if !whole || l == nil || l.count.Load() > 0 || l.read.on.Load() {
		return false
	}
	info, err := l.w.ContentInfo(ctx, part)
	return err == nil && !info.Deleted
}

// writer returns a writer that sends lost contents again.
func (l *lost) writer(ctx context.Context, w repo.DirectRepositoryWriter) (repo.RepositoryWriter, error) {
	objects, err := object.NewObjectManager(ctx, resend(w.ContentManager(), w.ContentManager().WriteContent, l),
		w.ObjectFormat(), nil)
	return &resendingWriter{w, objects}, err
}

type resendingWriter struct {
	repo.RepositoryWriter
	objects *object.Manager
}

// NewObjectWriter implements repo.RepositoryWriter.
func (r *resendingWriter) NewObjectWriter(ctx context.Context, opt object.WriterOptions) object.Writer {
	return r.objects.NewWriter(ctx, opt)
}

// ConcatenateObjects implements repo.RepositoryWriter.
func (r *resendingWriter) ConcatenateObjects(
	ctx context.Context, ids []object.ID, opt repo.ConcatenateOptions,
) (object.ID, error) {
	return r.objects.Concatenate(ctx, ids, opt.Compressor)
}

// resending writes a content that is lost although the index has it. Data is the type in which kopia passes data on. It
// has a name only within kopia.
type resending[Data any] struct {
	*content.WriteManager
	write writeFunc[Data]
	lost  *lost
}

type writeFunc[Data any] func(
	context.Context, Data, content.IDPrefix, compression.HeaderID,
) (content.ID, error)

func resend[Data any](m *content.WriteManager, write writeFunc[Data], l *lost) *resending[Data] {
	return &resending[Data]{m, write, l}
}

// WriteContent writes a content. Only writing tells its ID. kopia writes a content that the index has only if the index
// calls it deleted.
func (r *resending[Data]) WriteContent(
	ctx context.Context, data Data, prefix content.IDPrefix, comp compression.HeaderID,
) (content.ID, error) {
	id, err := r.write(ctx, data, prefix, comp)
	if err == nil {
		err = r.lost.prove(ctx, r.WriteManager, id)
	}
	if err != nil || !r.lost.has(id) {
		return id, err
	}
	r.lost.mu.Lock()
	defer r.lost.mu.Unlock()
	if !r.lost.ids[id] { // another worker has sent it
		return id, nil
	}
	if err := r.DeleteContent(ctx, id); err != nil {
		return id, err
	}
	if id, err = r.write(ctx, data, prefix, comp); err == nil {
		delete(r.lost.ids, id)
		r.lost.count.Add(-1)
	}
	return id, err
}
