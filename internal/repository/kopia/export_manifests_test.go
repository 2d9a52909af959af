package kopia

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
)

// Contents returns for each pack the kinds of the contents in it that are not deleted, a letter for each: m holds
// manifests, k holds directories.
func Contents(ctx context.Context, t testing.TB, e repository.Engine) map[string]string {
	t.Helper()
	out := map[string]string{}
	eachContent(ctx, t, e, func(c content.Info) { out[string(c.PackBlobID)] += string(c.ContentID.Prefix()) })
	return out
}

// Manifests returns the contents with manifests that are not deleted.
func Manifests(ctx context.Context, t testing.TB, e repository.Engine) map[content.ID]content.Info {
	t.Helper()
	out := map[content.ID]content.Info{}
	eachContent(ctx, t, e, func(c content.Info) {
		if c.ContentID.Prefix() == manifest.ContentPrefix {
			out[c.ContentID] = c
		}
	})
	return out
}

func eachContent(ctx context.Context, t testing.TB, e repository.Engine, do func(content.Info)) {
	t.Helper()
	rep := e.(*repoEngine).rep
	if err := rep.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	err := rep.ContentReader().IterateContents(ctx, content.IterateOptions{}, func(c content.Info) error {
		do(c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// MoveManifests moves all manifests and one more into one content, as kopia does from time to time.
func MoveManifests(ctx context.Context, t testing.TB, e repository.Engine) {
	t.Helper()
	rep := e.(*repoEngine).rep
	for _, change := range []func(context.Context, *manifest.Manager) error{
		func(ctx context.Context, m *manifest.Manager) error {
			_, err := m.Put(ctx, map[string]string{manifest.TypeLabelKey: "other"}, "x")
			return errors.Join(err, m.Flush(ctx))
		},
		func(ctx context.Context, m *manifest.Manager) error {
			_, err := m.Find(ctx, map[string]string{manifest.TypeLabelKey: "other"}) // it moves what it has read
			return errors.Join(err, m.Compact(ctx))
		},
	} {
		err := repo.DirectWriteSession(ctx, rep, repo.WriteSessionOptions{}, func(
			ctx context.Context, w repo.DirectRepositoryWriter,
		) error {
			m, err := manifest.NewManager(ctx, w.ContentManager(), manifest.ManagerOptions{TimeNow: rep.Time}, nil)
			return cmp.Or(err, change(ctx, m))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// IndexCompactions returns how often maintenance has looked after the index.
func IndexCompactions(ctx context.Context, t testing.TB, e repository.Engine) int {
	t.Helper()
	s, err := maintenance.GetSchedule(ctx, e.(*repoEngine).rep)
	if err != nil {
		t.Fatal(err)
	}
	return len(s.Runs[maintenance.TaskEpochCompactSingle])
}

// MarkRoot marks the root directory of a snapshot as deleted, as maintenance does with what it takes for unused.
func MarkRoot(ctx context.Context, e repository.Engine, id string) error {
	re, part, err := rootContent(ctx, e, id)
	if err != nil {
		return err
	}
	return repo.DirectWriteSession(ctx, re.rep, repo.WriteSessionOptions{},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			return errors.Join(w.ContentManager().DeleteContent(ctx, part), w.Flush(ctx))
		})
}

// RootIsMarked reports whether the root directory of a snapshot is marked as deleted.
func RootIsMarked(ctx context.Context, e repository.Engine, id string) (bool, error) {
	re, part, err := rootContent(ctx, e, id)
	if err != nil {
		return false, err
	}
	info, err := re.rep.ContentInfo(ctx, part)
	return info.Deleted, err
}

func rootContent(ctx context.Context, e repository.Engine, id string) (*repoEngine, content.ID, error) {
	re := e.(*repoEngine)
	_, man, err := re.root(ctx, id)
	if err != nil {
		return nil, content.EmptyID, err
	}
	part, _, _ := man.RootEntry.ObjectID.ContentID()
	return re, part, nil
}

// RootAgain does with the root directory of a snapshot what a backup does that finds it unchanged. It returns how many
// entries the backup knows of it, and whether it writes it again.
func RootAgain(ctx context.Context, e repository.Engine, id string) (entries int, written bool, _ error) {
	re := e.(*repoEngine)
	_, man, err := re.root(ctx, id)
	if err != nil {
		return 0, false, err
	}
	b := &backup{e: re, progress: newProgress(repository.BackupOptions{})}
	defer b.progress.stop()
	ctx, out, err := b.writer(ctx)
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = out.Close(ctx) }()
	wk := &walk{rep: out, lost: b.lost}
	ref := &dirRef{stamps: &stamps{}, previous: wk.previousDirs(ctx, rootsOf([]*snapshot.Manifest{man}))}
	if len(ref.previous) == 0 {
		return 0, true, errors.New("the backup can't read the directory")
	}
	wk.open.Store(".", ref)
	for stamp := range slices.Chunk(ref.previous[0].Stamps, stampSize) {
		ref.stamps.add(binary.BigEndian.Uint64(stamp))
	}
	dm, err := re.readDir(ctx, man.RootEntry.ObjectID)
	if err != nil {
		return 0, false, err
	}
	w := (&stampWriter{RepositoryWriter: out, walk: wk}).NewObjectWriter(ctx, object.WriterOptions{
		Description: "DIR:.", Prefix: "k",
	})
	defer func() { _ = w.Close() }()
	err = json.NewEncoder(w).Encode(dm)
	made, err2 := w.Result()
	if made != man.RootEntry.ObjectID && w.(*dirWriter).before != nil {
		err2 = errors.Join(err2, errors.New("an unwritten directory has another ID"))
	}
	return len(ref.previous[0].Entries), w.(*dirWriter).before == nil, errors.Join(err, err2)
}
