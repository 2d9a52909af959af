package removal

import (
	"context"
	"errors"
	"slices"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// backup is what lies in the backend of a Snapshot to remove.
type backup struct {
	// uids are the UIDs that its object has had: first that of the order, then others that its data can have.
	uids []string
	// files are its component results.
	files []string
}

// find looks for the backups of Snapshots. The object of a Snapshot can have come back, from a backup of the cluster or
// from a scan, and then it does not know the UID that its data has.
func (x Repository) find(ctx context.Context, snapshots []task.Removed) ([]backup, error) {
	out := make([]backup, len(snapshots))
	others, err := x.otherNames(ctx, snapshots)
	if err != nil {
		return nil, err
	}
	known := true // no backup has another UID than its order
	for i, s := range snapshots {
		out[i].uids = []string{string(s.UID)}
		if isOther(s.Rebuilt, s) {
			out[i].uids = append(out[i].uids, s.Rebuilt)
		}
		for _, name := range []string{s.Name, others[s.Name]} {
			if err := x.read(ctx, s, name, &out[i]); err != nil {
				return nil, err
			}
		}
		known = known && len(out[i].uids) == 1
	}
	if known {
		return out, nil
	}
	all, err := x.Engine.List(ctx, "")
	if err != nil {
		return nil, err
	}
	runs := runsOf(all)
	for i, s := range snapshots {
		out[i].uids = slices.DeleteFunc(out[i].uids, func(uid string) bool {
			run, found := runs[uid]
			return uid != string(s.UID) && (!found || run != s.BackupSession)
		})
	}
	return out, nil
}

// order adds the removal of a backup, under each UID. It changes no removal that is written down.
func (b backup) order(removals map[string]*layout.Removal, s task.Removed) {
	for _, uid := range b.uids {
		r := layout.Removal{Snapshot: s.Name, SnapshotUID: uid}
		if old := removals[uid]; old != nil {
			r.IDs = slices.Clone(old.IDs)
		}
		if uid == string(s.UID) {
			r.IDs = append(r.IDs, s.IDs...)
		}
		slices.Sort(r.IDs)
		r.IDs = slices.Compact(r.IDs)
		removals[uid] = &r
	}
}

// isOther reports whether a text from the backend is a UID that an earlier object of the Snapshot can have had.
func isOther(uid string, s task.Removed) bool {
	return uid != string(s.UID) && task.IsUID(uid) && !layout.IsMarker(layout.RemovalPath("", uid))
}

// severalRuns stands for the runs of data with one UID. No BackupSession has this name.
const severalRuns = "/"

// runsOf returns the run of the engine's data by UID. Anybody who can write to the backend decides what a component
// result says, and so could have any data removed. The tags of data need the password.
func runsOf(all []repository.Snapshot) map[string]string {
	out := map[string]string{}
	for _, s := range all {
		uid, run := s.Tags[judge.TagSnapshotUID], s.Tags[judge.TagBackupSession]
		if other, found := out[uid]; found && other != run {
			run = severalRuns
		}
		out[uid] = run
	}
	return out
}

// otherNames returns the names in the backend of Snapshots that a scan has given other names, by these.
func (x Repository) otherNames(ctx context.Context, snapshots []task.Removed) (map[string]string, error) {
	if !slices.ContainsFunc(snapshots, func(s task.Removed) bool { return s.Rebuilt != "" }) {
		return nil, nil
	}
	files, err := x.Store.List(ctx, layout.SnapshotsPath(x.Directory))
	if err != nil {
		return nil, err
	}
	out, last := map[string]string{}, ""
	for _, file := range files { // they are sorted
		if name, _, ok := layout.ParseSnapshotComponentPath(x.Directory, file); ok && name != last {
			last = name
			out[policy.RebuiltSnapshotName(name, x.UID)] = name
		}
	}
	return out, nil
}

// read reads the component results of a name, and adds those to the backup that belong to it, with their UIDs. What
// can't be understood goes with the Snapshot of the name.
func (x Repository) read(ctx context.Context, s task.Removed, name string, b *backup) error {
	if name == "" {
		return nil
	}
	files, err := x.Store.List(ctx, layout.SnapshotPath(x.Directory, name))
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, _, own := layout.ParseSnapshotComponentPath(x.Directory, file); !own {
			continue
		}
		text, err := x.Store.Get(ctx, file)
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c, err := layout.ParseComponentResult(text)
		switch {
		case err != nil && (layout.IsMarker(file) || name != s.Name):
			continue // it is not the Snapshot's
		case err != nil, c.SnapshotUID == string(s.UID), s.Rebuilt != "" && c.SnapshotUID == s.Rebuilt:
		case s.SnapshotID == "" || c.Of.SnapshotID != s.SnapshotID:
			continue // of another backup
		case s.Rebuilt == "" && isOther(c.SnapshotUID, s) && !slices.Contains(b.uids, c.SnapshotUID):
			b.uids = append(b.uids, c.SnapshotUID)
		}
		b.files = append(b.files, file)
	}
	return nil
}
