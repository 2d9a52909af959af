package kopia

import (
	"context"
	"fmt"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"
	"github.com/kopia/kopia/snapshot/upload"
)

// safeFor is less than the four hours between the two collections that drop a content, also if kopia's view of the
// index is old: it reads the index every 15 minutes.
const safeFor = 3 * time.Hour

// stillThere checks by verify that a backup that took long lost nothing meanwhile. A stream may pause for days, and
// somebody may delete the snapshot from which a tree takes what did not change; or another program maintained the
// repository.
func (b *backup) stillThere(ctx context.Context, w repo.RepositoryWriter, start time.Time, verify func() error) error {
	if !isLong(w, start) {
		return nil
	}
	if err := b.e.rep.Refresh(ctx); err != nil {
		return err
	}
	if err := verify(); err != nil {
		return fmt.Errorf("the repository has lost data of the backup, before it or while it ran, so back it up "+
			"again: %w", err)
	}
	return nil
}

// isLong reports whether data of a backup that began at start can be gone.
func isLong(w repo.RepositoryWriter, start time.Time) bool { return w.Time().Sub(start) >= safeFor }

// Reasons for which a finished backup is no snapshot. All of its data is there.
const reasonUnreadable, reasonRefused = "unreadable", "refused"

// uncheckedLabel is the label of what is kept of an unfinished backup. It says when the oldest backup began of which
// this one continues something that was not checked: kopia deletes old checkpoints.
const uncheckedLabel = "unchecked-since"

// uncheckedSince returns the oldest start of the interrupted backups that this one continues, and of itself. A
// checkpoint is not checked.
func uncheckedSince(start time.Time, previous []*snapshot.Manifest) time.Time {
	for _, m := range previous {
		switch m.IncompleteReason {
		case "", reasonUnreadable, reasonRefused:
			continue
		}
		if t := m.StartTime.ToTime(); t.Before(start) {
			start = t
		}
		if t, err := time.Parse(time.RFC3339Nano, m.Tags[uncheckedLabel]); err == nil && t.Before(start) {
			start = t
		}
	}
	return start
}

// unfinishedLabels returns the labels of what is kept of an unfinished backup.
func (b *backup) unfinishedLabels() map[string]string {
	labels := b.labels()
	if !b.unchecked.IsZero() {
		labels[uncheckedLabel] = b.unchecked.Format(time.RFC3339Nano)
	}
	return labels
}

// treeStillThere checks a tree. That can take hours, so it first keeps the tree: no collection that begins later marks
// anything of it as deleted, and a backup that is stopped goes on from there. If data is gone, the next backup takes
// nothing from this one, and from those before it.
func (b *backup) treeStillThere(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest) error {
	if man.IncompleteReason != "" || !isLong(w, b.unchecked) {
		return nil // no snapshot, or a safe one
	}
	if err := b.keepForNext(ctx, w, man, upload.IncompleteReasonCheckpoint, nil); err != nil {
		return err
	}
	man.IncompleteReason = ""
	if err := w.Flush(ctx); err != nil {
		return err
	}
	err := b.stillThere(ctx, w, b.unchecked, func() error { return b.verifyTree(ctx, w, man) })
	if err != nil && damage(err) {
		err = firstError(b.distrust(ctx, w, man), err)
	}
	return err
}

// verifyTree checks that the index has all contents of a tree.
func (b *backup) verifyTree(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest) error {
	root, err := snapshotfs.SnapshotRoot(w, man)
	if err != nil {
		return err
	}
	tw, err := snapshotfs.NewTreeWalker(ctx, snapshotfs.TreeWalkerOptions{
		Parallelism: defaultParallel, MaxErrors: 1,
		EntryCallback: func(ctx context.Context, _ fs.Entry, id object.ID, _ string) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return b.verifyObject(ctx, w, id)
		},
	})
	if err != nil {
		return err
	}
	defer tw.Close(ctx)
	err = tw.Process(ctx, root, ".")
	if found, _ := tw.GetErrors(); len(found) > 0 {
		return found[0]
	}
	return err
}

// verifyObject checks that the index has all contents of an object. Earlier collections can have marked one of them as
// deleted, and a maintenance that is under way drops it without another look at what is in use. So what is marked is
// stored again.
func (b *backup) verifyObject(ctx context.Context, w repo.RepositoryWriter, id object.ID) error {
	parts, err := w.VerifyObject(ctx, id)
	if err != nil {
		return err
	}
	for _, part := range parts {
		info, err := b.contents.ContentInfo(ctx, part)
		if err == nil && info.Deleted {
			err = b.contents.UndeleteContent(ctx, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
