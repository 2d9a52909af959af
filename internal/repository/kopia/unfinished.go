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
// compared with old data. So one from the future counts only if there is no other. doubted is set if damage is known,
// and no snapshot was made since.
func previousManifests(
	ctx context.Context, w repo.RepositoryWriter, name string,
) (found []*snapshot.Manifest, doubted bool, err error) {
	now := fs.UTCTimestampFromTime(w.Time())
	found, err = snapshot.FindPreviousManifests(ctx, w, source(name), &now)
	if err == nil && len(found) == 0 {
		found, err = snapshot.FindPreviousManifests(ctx, w, source(name), nil)
	}
	if err != nil {
		return nil, false, err
	}
	bad, err := doubtful(ctx, w, name)
	found = slices.DeleteFunc(found, func(m *snapshot.Manifest) bool {
		return slices.Contains(bad.Snapshots, m.ID) || !m.StartTime.ToTime().After(bad.Until)
	})
	return found, bad.known() && !slices.ContainsFunc(found, isComplete), err
}

// isDoubted reports whether damage of a source is known, and no snapshot was made since.
func isDoubted(ctx context.Context, w repo.RepositoryWriter, name string) (doubted bool, err error) {
	if bad, err := doubtful(ctx, w, name); err != nil || !bad.known() {
		return false, err
	}
	_, doubted, err = previousManifests(ctx, w, name)
	return doubted, err
}

func isComplete(m *snapshot.Manifest) bool { return m.IncompleteReason == "" }

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
	// Until is the time until which backups can have taken data from one of them, finished or not.
	Until time.Time `json:"until"`
}

// known reports whether any damage is known.
func (d doubtfulSnapshots) known() bool { return len(d.Snapshots) > 0 || !d.Until.IsZero() }

// clocksDiffer is how far the clocks of two nodes differ at most: kopia allows five minutes between a node and the
// storage.
const clocksDiffer = 10 * time.Minute

// doubtfulLabels are the labels of that manifest.
func doubtfulLabels(name string) map[string]string {
	return map[string]string{manifest.TypeLabelKey: doubtfulType, snapshot.PathLabel: name}
}

// doubtful returns what no backup of a source takes anything from.
func doubtful(ctx context.Context, w repo.RepositoryWriter, name string) (out doubtfulSnapshots, _ error) {
	found, err := w.FindManifests(ctx, doubtfulLabels(name))
	for _, m := range found {
		var d doubtfulSnapshots
		if _, err := w.GetManifest(ctx, m.ID, &d); err != nil {
			return out, err
		}
		if out.Snapshots = append(out.Snapshots, d.Snapshots...); d.Until.After(out.Until) {
			out.Until = d.Until
		}
	}
	slices.Sort(out.Snapshots)
	out.Snapshots = slices.Compact(out.Snapshots)
	return out, err
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
	d := doubtfulSnapshots{Until: man.StartTime.ToTime()}
	for _, m := range all {
		d.Snapshots = append(d.Snapshots, m.ID) // also what another run left meanwhile
	}
	_, err = w.ReplaceManifests(ctx, doubtfulLabels(b.src.Name), d)
	return err
}

// doubt lets the next backups of the sources of damaged snapshots take nothing from these, nor from what began before
// the end of the check and can have its data from there. began is when the check began. again says that damage which is
// known counts anew once a later backup was to send it again: a restore has met it just now.
func (e *repoEngine) doubt(ctx context.Context, checked, damaged []string, began time.Time, again bool) error {
	return repo.WriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "check"},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			bySource := map[snapshot.SourceInfo][]*snapshot.Manifest{}
			for _, id := range damaged {
				man, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id))
				if errors.Is(err, snapshot.ErrSnapshotNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if isComplete(man) {
					bySource[man.Source] = append(bySource[man.Source], man)
				}
			}
			for source, damaged := range bySource {
				all, err := snapshot.ListSnapshots(ctx, w, source)
				if err != nil {
					return err
				}
				last, answered := newest(all, began), time.Time{}
				until := doubtUntil(last, checked, damaged, w.Time())
				if again && last != nil {
					answered = last.StartTime.ToTime()
				}
				if err := doubtAlso(ctx, w, source.Path, damaged, until, answered); err != nil {
					return err
				}
			}
			return nil
		})
}

// doubtUntil returns the time before which no backup of a source is trusted that has damaged snapshots, or zero if the
// last one of it was checked and is whole.
func doubtUntil(last *snapshot.Manifest, checked []string, damaged []*snapshot.Manifest, now time.Time) time.Time {
	if last != nil && slices.Contains(checked, string(last.ID)) &&
		!slices.ContainsFunc(damaged, func(m *snapshot.Manifest) bool { return m.ID == last.ID }) {
		return time.Time{}
	}
	return now.Add(clocksDiffer)
}

// newest returns the newest complete snapshot that began before a time, which the next backup continues, or nil.
func newest(all []*snapshot.Manifest, before time.Time) (out *snapshot.Manifest) {
	for _, m := range all {
		if isComplete(m) && !m.StartTime.ToTime().After(before) &&
			(out == nil || m.StartTime.After(out.StartTime)) {
			out = m
		}
	}
	return out
}

// doubtAlso adds damaged snapshots to what no backup of a source takes anything from, and what began until then. It
// changes nothing if all are known, and a backup that read every file could follow. answered is when a backup began
// that followed, and did not end the damage; it is zero if that does not count.
func doubtAlso(
	ctx context.Context, w repo.RepositoryWriter, name string, damaged []*snapshot.Manifest, until, answered time.Time,
) error {
	all, err := doubtful(ctx, w, name)
	if err != nil {
		return err
	}
	news := slices.DeleteFunc(slices.Clone(damaged), func(m *snapshot.Manifest) bool {
		return slices.Contains(all.Snapshots, m.ID) && !answered.After(all.Until) &&
			(until.IsZero() || !m.StartTime.ToTime().After(all.Until))
	})
	if len(news) == 0 && len(damaged) > 0 {
		return nil
	}
	for _, m := range news {
		if !slices.Contains(all.Snapshots, m.ID) {
			all.Snapshots = append(all.Snapshots, m.ID)
		}
	}
	if until.After(all.Until) {
		all.Until = until
	}
	_, err = w.ReplaceManifests(ctx, doubtfulLabels(name), all)
	return err
}

// Doubt lets the next backups of the sources of these snapshots read every file.
func (e *repoEngine) Doubt(ctx context.Context, ids ...string) error {
	ctx, stop := e.ctx(ctx)
	defer stop()
	err := e.rep.Refresh(ctx)
	if err == nil {
		err = e.doubt(ctx, ids, ids, e.rep.Time(), true)
	}
	return classify("doubt", cause(ctx, err))
}
