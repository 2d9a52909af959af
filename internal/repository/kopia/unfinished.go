package kopia

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
)

// previousManifests returns what a backup of a source continues: the newest snapshot, and what interrupted runs left
// after it. A snapshot of a node whose clock was ahead would be the newest for a long time, and every backup would be
// compared with old data. So one from the future counts only if there is no other.
func previousManifests(ctx context.Context, w repo.RepositoryWriter, name string) ([]*snapshot.Manifest, error) {
	now := fs.UTCTimestampFromTime(w.Time())
	found, err := snapshot.FindPreviousManifests(ctx, w, source(name), &now)
	if err == nil && len(found) == 0 {
		found, err = snapshot.FindPreviousManifests(ctx, w, source(name), nil)
	}
	if err != nil {
		return nil, err
	}
	bad, since, err := doubtful(ctx, w, name)
	return slices.DeleteFunc(found, func(m *snapshot.Manifest) bool {
		return slices.Contains(bad, m.ID) || m.IncompleteReason != "" && !m.StartTime.ToTime().After(since)
	}), err
}

// dropUnfinished deletes the incomplete manifests that all passes of this run and earlier runs of the source left, but
// man, and those that seem to be from after its end: their node's clock was ahead.
func (b *backup) dropUnfinished(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest) error {
	old, err := snapshot.ListSnapshots(ctx, w, man.Source)
	if err != nil {
		return err
	}
	for _, o := range old {
		later := o.StartTime.After(man.StartTime) && !o.StartTime.After(man.EndTime) &&
			!slices.Contains(b.passes, o.StartTime)
		if o.IncompleteReason != "" && o.ID != man.ID && !later {
			if err := w.DeleteManifest(ctx, o.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// doubtfulType is the type of a manifest that names the snapshots of a source from which no backup takes anything: data
// of one of them is gone. It is a manifest of its own, because another label would give a snapshot another ID.
const doubtfulType = "cairn-doubtful"

// doubtfulSnapshots is the content of that manifest.
type doubtfulSnapshots struct {
	Snapshots []manifest.ID `json:"snapshots"`
}

// doubtfulLabels are the labels of that manifest.
func doubtfulLabels(name string) map[string]string {
	return map[string]string{manifest.TypeLabelKey: doubtfulType, snapshot.PathLabel: name}
}

// doubtful returns the snapshots of a source from which no backup takes anything, and when the last of them was found.
// What was interrupted before that can have its data from one of them.
func doubtful(ctx context.Context, w repo.RepositoryWriter, name string) (out []manifest.ID, since time.Time, _ error) {
	found, err := w.FindManifests(ctx, doubtfulLabels(name))
	for _, m := range found {
		var d doubtfulSnapshots
		if _, err := w.GetManifest(ctx, m.ID, &d); err != nil {
			return nil, since, err
		}
		if out = append(out, d.Snapshots...); m.ModTime.After(since) {
			since = m.ModTime
		}
	}
	slices.Sort(out)
	return slices.Compact(out), since, err
}

// distrust lets the next backup of a source read each file, after this one lacked data. What man has can come from an
// interrupted backup, which goes, or from a snapshot.
func (b *backup) distrust(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest) error {
	if err := b.dropUnfinished(ctx, w, man); err != nil {
		return err
	}
	all, err := snapshot.ListSnapshots(ctx, w, man.Source)
	if err != nil {
		return err
	}
	var d doubtfulSnapshots
	for _, m := range all {
		if m.IncompleteReason == "" {
			d.Snapshots = append(d.Snapshots, m.ID)
		}
	}
	_, err = w.ReplaceManifests(ctx, doubtfulLabels(b.src.Name), d)
	return err
}

// doubt lets the next backups of the sources of damaged snapshots take nothing from these.
func (e *repoEngine) doubt(ctx context.Context, ids []string) error {
	return repo.WriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "check"},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			bySource := map[string][]manifest.ID{}
			for _, id := range ids {
				man, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id))
				if errors.Is(err, snapshot.ErrSnapshotNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if man.IncompleteReason == "" {
					bySource[man.Source.Path] = append(bySource[man.Source.Path], man.ID)
				}
			}
			for name, damaged := range bySource {
				if err := doubtAlso(ctx, w, name, damaged); err != nil {
					return err
				}
			}
			return nil
		})
}

// doubtAlso adds snapshots to those of a source from which no backup takes anything.
func doubtAlso(ctx context.Context, w repo.RepositoryWriter, name string, damaged []manifest.ID) error {
	known, _, err := doubtful(ctx, w, name)
	if err != nil {
		return err
	}
	all := slices.Concat(known, damaged)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == len(known) {
		return nil
	}
	_, err = w.ReplaceManifests(ctx, doubtfulLabels(name), doubtfulSnapshots{Snapshots: all})
	return err
}
