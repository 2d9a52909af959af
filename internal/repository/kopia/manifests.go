package kopia

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// kopia lists manifests, which describe snapshots, only if it can read each content that holds some. Such a content
// lies in a pack with the directories of its backup, so one lost pack would take all snapshots along, and each backup
// to come. Where kopia fails for that reason, this package goes on with the manifests that are left. It removes nothing
// from the index: what comes back into the storage counts again. Only forget does.
//
// From time to time kopia moves all manifests into one content. Until maintenance drops them, the contents are there
// from which it has moved them, so this package reads these if that one is lost.

// surviving is a repository of which contents with manifests are lost.
type surviving struct {
	repo.DirectRepository
	manifests *manifest.Manager
	lost      *lostManifests
}

// surviving returns rep, or, where contents with manifests are lost, what is left of it. Another error is for those who
// read manifests later.
func (e *repoEngine) surviving(ctx context.Context, rep repo.DirectRepository) repo.DirectRepository {
	err := readManifests(ctx, rep)
	if err == nil || !unreadable(err) {
		return rep
	}
	contents, ok := rep.ContentReader().(*content.WriteManager)
	if !ok {
		return rep
	}
	s := &surviving{DirectRepository: rep, lost: newLostManifests(rep)}
	if s.manifests, _, err = s.lost.manager(ctx, rep, contents); err == nil {
		err = readManifests(ctx, s)
	}
	if err != nil || len(s.lost.ids()) == 0 {
		return rep
	}
	if e.log != nil {
		e.log("warn", "open", s.lost.String())
	}
	return s
}

// Lost implements repository.Engine.
func (e *repoEngine) Lost() bool {
	_, lost := e.rep.(*surviving)
	return lost
}

// readManifests reads all manifests. It looks for one sort of them, because kopia copies what it finds.
func readManifests(ctx context.Context, rep repo.Repository) error {
	_, err := rep.FindManifests(ctx, map[string]string{manifest.TypeLabelKey: doubtfulType})
	return err
}

// GetManifest implements repo.Repository.
func (s *surviving) GetManifest(ctx context.Context, id manifest.ID, data any) (*manifest.EntryMetadata, error) {
	return s.manifests.Get(ctx, id, data)
}

// FindManifests implements repo.Repository.
func (s *surviving) FindManifests(
	ctx context.Context, labels map[string]string,
) ([]*manifest.EntryMetadata, error) {
	return s.manifests.Find(ctx, labels)
}

// NewWriter implements repo.Repository.
func (s *surviving) NewWriter(
	ctx context.Context, opt repo.WriteSessionOptions,
) (context.Context, repo.RepositoryWriter, error) {
	return s.NewDirectWriter(ctx, opt)
}

// moveAt is the number of contents with manifests from which on a writer moves the manifests, as kopia does.
const moveAt = 16

// NewDirectWriter implements repo.DirectRepository.
func (s *surviving) NewDirectWriter(
	ctx context.Context, opt repo.WriteSessionOptions,
) (context.Context, repo.DirectRepositoryWriter, error) {
	ctx, w, err := s.DirectRepository.NewDirectWriter(ctx, opt)
	if err != nil {
		return ctx, nil, err
	}
	manifests, contents, err := s.lost.manager(ctx, w, w.ContentManager())
	out := &survivingWriter{w, manifests}
	if err == nil {
		err = readManifests(ctx, out)
	}
	if err == nil && contents.count >= moveAt {
		err = manifests.Compact(ctx)
	}
	if err != nil {
		_ = w.Close(ctx)
		return ctx, nil, err
	}
	return ctx, out, nil
}

// survivingWriter is a writer for such a repository.
type survivingWriter struct {
	repo.DirectRepositoryWriter
	manifests *manifest.Manager
}

// GetManifest implements repo.Repository.
func (w *survivingWriter) GetManifest(ctx context.Context, id manifest.ID, data any) (*manifest.EntryMetadata, error) {
	return w.manifests.Get(ctx, id, data)
}

// FindManifests implements repo.Repository.
func (w *survivingWriter) FindManifests(
	ctx context.Context, labels map[string]string,
) ([]*manifest.EntryMetadata, error) {
	return w.manifests.Find(ctx, labels)
}

// PutManifest implements repo.RepositoryWriter.
func (w *survivingWriter) PutManifest(
	ctx context.Context, labels map[string]string, payload any,
) (manifest.ID, error) {
	return w.manifests.Put(ctx, labels, payload)
}

// ReplaceManifests implements repo.RepositoryWriter.
func (w *survivingWriter) ReplaceManifests(
	ctx context.Context, labels map[string]string, payload any,
) (manifest.ID, error) {
	found, err := w.manifests.Find(ctx, labels)
	if err != nil {
		return "", err
	}
	for _, m := range found {
		if err := w.manifests.Delete(ctx, m.ID); err != nil {
			return "", err
		}
	}
	return w.manifests.Put(ctx, labels, payload)
}

// DeleteManifest implements repo.RepositoryWriter.
func (w *survivingWriter) DeleteManifest(ctx context.Context, id manifest.ID) error {
	return w.manifests.Delete(ctx, id)
}

// Flush implements repo.RepositoryWriter.
func (w *survivingWriter) Flush(ctx context.Context) error {
	if err := w.manifests.Flush(ctx); err != nil {
		return err
	}
	return w.DirectRepositoryWriter.Flush(ctx)
}

// lostManifests are the contents with manifests that are lost.
type lostManifests struct {
	rep   repo.DirectRepository
	mu    sync.Mutex
	infos map[content.ID]content.Info
}

func newLostManifests(rep repo.DirectRepository) *lostManifests {
	return &lostManifests{rep: rep, infos: map[content.ID]content.Info{}}
}

// manager returns a manager of the manifests that can be read, and what it reads.
func (l *lostManifests) manager(
	ctx context.Context, rep repo.Repository, contents *content.WriteManager,
) (*manifest.Manager, *readable, error) {
	r := &readable{WriteManager: contents, lost: l}
	m, err := manifest.NewManager(ctx, r, manifest.ManagerOptions{TimeNow: rep.Time}, nil)
	return m, r, err
}

// has reports whether a content is known to be lost.
func (l *lostManifests) has(c content.Info) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.infos[c.ContentID]
	return ok && known.PackBlobID == c.PackBlobID
}

// ids returns the contents that are lost.
func (l *lostManifests) ids() (out []content.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.infos {
		out = append(out, id)
	}
	return out
}

// String says what is lost.
func (l *lostManifests) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var packs []string
	for _, c := range l.infos {
		packs = append(packs, string(c.PackBlobID))
	}
	slices.Sort(packs)
	packs = slices.Compact(packs)
	return fmt.Sprintf("descriptions of snapshots can't be read, because data of %s is missing or damaged: %s",
		text.Quantity(len(packs), "pack"), text.FirstFew(packs))
}

// readable is the contents with manifests that can be read.
type readable struct {
	*content.WriteManager
	lost     *lostManifests
	mu       sync.Mutex
	count    int // without deleted contents, and those that hold removals
	removals map[content.ID]bool
}

// IsReadOnly keeps kopia from moving manifests each time that it reads them: it also counts deleted contents.
func (*readable) IsReadOnly() bool { return true }

// IterateContents calls each, which reads a content, for those that can be read. If one is lost, it also calls each for
// those from which manifests were moved there.
func (r *readable) IterateContents(
	ctx context.Context, opt content.IterateOptions, each content.IterateCallback,
) error {
	r.count = 0
	var lost []content.Info
	err := r.WriteManager.IterateContents(ctx, opt, func(c content.Info) error {
		var err error
		gone := r.lost.has(c)
		if !gone {
			for range 2 {
				if err = each(c); err == nil || !unreadable(err) {
					break
				}
				r.uncache(ctx, c.PackBlobID)
			}
			gone = err != nil && r.lost.add(ctx, c, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if gone {
			lost = append(lost, c)
			return nil
		}
		if !r.removals[c.ContentID] {
			r.count++
		}
		return err
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	opt.IncludeDeleted = true
	return r.WriteManager.IterateContents(ctx, opt, func(c content.Info) error {
		if !c.Deleted || !slices.ContainsFunc(lost, func(l content.Info) bool { return movedInto(c, l) }) {
			return nil
		}
		if err := each(c); err != nil && !unreadable(err) {
			return err
		}
		return nil
	})
}

// uncache drops what a cache has of a pack, so that the next read asks the storage.
func (r *readable) uncache(ctx context.Context, pack blob.ID) {
	if st := r.MetadataCache().CacheStorage(); st != nil && pack != "" {
		_ = st.DeleteBlob(ctx, pack[1:]+pack[:1]) // kopia's name for it
	}
}

// movedInto reports whether the manifests of a deleted content can have been moved into another one. kopia writes the
// one, and then it deletes the others.
func movedInto(deleted, c content.Info) bool {
	d := deleted.Timestamp().Sub(c.Timestamp())
	return d >= 0 && d <= time.Minute
}

// add reports whether a content is lost that could not be read twice, by the error. A storage that lists a pack and
// does not find it is mistaken, and knows better later. So is one that now returns what was written.
func (l *lostManifests) add(ctx context.Context, c content.Info, err error) bool {
	if !unreadable(err) {
		return false
	}
	if !undecodable.MatchString(err.Error()) {
		whole, now := intact(ctx, l.rep, c)
		if whole || now != nil && !unreadable(now) {
			return false
		}
		err = firstError(now, err)
	}
	if errors.Is(err, blob.ErrBlobNotFound) {
		listed := false
		err := l.rep.BlobReader().ListBlobs(ctx, c.PackBlobID, func(blob.Metadata) error {
			listed = true
			return nil
		})
		if err != nil || listed {
			return false
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.infos[c.ContentID] = c
	return true
}

// undecodable matches kopia's errors for a content that is as it was written, and is no list of manifests.
var undecodable = regexp.MustCompile(`unable to (unpack|parse) manifest`)

// unreadable reports whether an error means that a content with manifests can be lost. If it is not in the index, then
// its manifests were moved meanwhile, and kopia reads the index again.
func unreadable(err error) bool {
	if errors.Is(err, content.ErrContentNotFound) {
		return false
	}
	return errors.Is(classify("read manifests", err), repository.ErrCorrupt) || undecodable.MatchString(err.Error())
}
