package repository

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/initjob"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task"
)

// recent is the number of Snapshots that the status shows.
const recent = 5

// clockInterval is the delay before a Repository looks again at a time that is still to come: the clock of the manager
// can be behind, and somebody can put it right.
const clockInterval = 10 * time.Minute

// counted is what a Repository's Snapshots say.
type counted struct {
	// doubt is what the newest ended Snapshot says; why is its name.
	doubt doubts
	// snapshots are those that stay, newest first.
	snapshots []*v1alpha1.Snapshot
	// again is when to look at their times again, or 0.
	again time.Duration
}

// count summarizes the repository's Snapshots in its status.
func (r *Reconciler) count(ctx context.Context, repository *v1alpha1.Repository) (counted, error) {
	snapshots, err := snapshotsByRepository.Of(ctx, r.Client, repository.Namespace, repository.Name)
	if err != nil {
		return counted{}, err
	}
	now := r.Clock.Now()
	newestFirst(snapshots, now)
	// A policy that keeps no failed Snapshot lets one go as soon as it fails. It tells why until it is gone.
	doubt := doubting(snapshots, repository.Status.MovedTime, now)
	snapshots = slices.DeleteFunc(snapshots, func(s *v1alpha1.Snapshot) bool { return !s.DeletionTimestamp.IsZero() })
	again := summarize(&repository.Status, snapshots, now, r.settled(now))
	return counted{doubt, snapshots, again}, nil
}

// settled reports whether the manager's clock has run like a stopwatch for so long that it can take a time back.
func (r *Reconciler) settled(now time.Time) bool {
	return r.Stopwatch == nil || r.steadiness.Settled(now, r.Stopwatch())
}

// newestFirst sorts Snapshots by when they were made, or their objects if that is not known. It asks each once: the
// answer can rest on a thousand components.
func newestFirst(snapshots []*v1alpha1.Snapshot, now time.Time) {
	made := make(map[*v1alpha1.Snapshot]time.Time, len(snapshots))
	for _, s := range snapshots {
		made[s] = s.CreationTimestamp.Time
		if at := s.MadeBy(now); at != nil {
			made[s] = at.Time
		}
	}
	slices.SortFunc(snapshots, func(a, b *v1alpha1.Snapshot) int {
		return cmp.Or(made[b].Compare(made[a]), strings.Compare(b.Spec.SnapshotID, a.Spec.SnapshotID))
	})
}

// castsDoubt reports whether a reason of a mover makes an init Job look whether the Repository can still be used: the
// password no longer opens it, the storage can't be used, or the repository or data of it is gone. The Job decides: it
// succeeds where only data of some Snapshots is gone. A missing encryption Secret casts no doubt: a restore can bring
// its own.
func castsDoubt(reason string) bool {
	switch reason {
	case v1alpha1.ReasonPasswordChanged, v1alpha1.ReasonRepositoryNotFound, v1alpha1.ReasonRepositoryDamaged:
		return true
	}
	return initjob.BlamesStorage(reason)
}

// doubting returns the doubt of the newest Snapshot that has ended, if it failed for a reason that casts doubt on the
// Repository, or because the directory was taken. The Snapshots must be sorted, newest first. One that is still to come
// says nothing: nobody knows what came after it. Nor does one from before the Repository moved, or took its directory
// back, say who has the directory now.
func doubting(snapshots []*v1alpha1.Snapshot, moved *metav1.Time, now time.Time) (d doubts) {
	for _, s := range snapshots {
		if at := s.MadeBy(now); at != nil && v1alpha1.Ahead(at.Time, now) {
			continue
		}
		before := moved != nil && !s.CreationTimestamp.After(moved.Time)
		switch s.Status.Phase {
		case v1alpha1.SnapshotSucceeded:
			return doubts{}
		case v1alpha1.SnapshotFailed:
			for _, c := range s.Status.Components {
				if c.Phase != v1alpha1.SnapshotFailed {
					continue
				}
				switch {
				case c.Reason == v1alpha1.ReasonDirectoryTaken && !before:
					return doubts{why: s.Name, taken: true}
				case castsDoubt(c.Reason):
					d.why, d.gone = s.Name, d.gone || isGone(c.Reason)
				}
			}
			return d
		}
	}
	return doubts{}
}

// summarize expects the Snapshots newest first. settled reports whether the clock can take back a time of the status.
// summarize returns when to look again at times that are still to come, or 0.
func summarize(
	status *v1alpha1.RepositoryStatus, snapshots []*v1alpha1.Snapshot, now time.Time, settled bool,
) (again time.Duration) {
	var succeeded, damaged, half, unchecked int32
	var last, undamaged *metav1.Time
	size, newestHalf := "", false
	var infos []v1alpha1.SnapshotInfo
	for _, s := range snapshots {
		if len(infos) < recent {
			infos = append(infos, v1alpha1.SnapshotInfo{
				Name: s.Name, Phase: s.Status.Phase, Session: s.Spec.Session, Size: s.Status.Size,
				SnapshotTime: s.MadeBy(now),
			})
		}
		if s.Status.Phase != v1alpha1.SnapshotSucceeded {
			continue
		}
		succeeded++
		switch {
		case v1alpha1.Damaged(s.Status.Integrity):
			damaged++
		case retention.HalfRestored(s):
			half++
		case retention.Unchecked(s):
			unchecked++
		}
		at := s.PassedBy(now)
		if at != nil && (last == nil || last.Before(at)) {
			last, size = at, s.Status.Size
		}
		if at != nil && retention.Undamaged(s) && (undamaged == nil || undamaged.Before(at)) {
			undamaged, newestHalf = at, retention.HalfRestored(s)
		}
		again = run.EarlierOf(again, toCome(s.MadeAt(), now))
	}
	status.SnapshotCount, status.RecentSnapshots = &succeeded, infos
	status.DamagedCount, status.HalfRestoredCount, status.UncheckedCount = damaged, half, unchecked
	status.NewestHalfRestored = newestHalf
	// The time of the last backup stays when its Snapshot goes, unless a clock that was ahead has told it.
	// Then a clock that has just started or jumped must not forget it: it can be behind.
	if left := toCome(status.LastBackupTime, now); left > 0 && settled {
		status.LastBackupTime = nil
	} else if last == nil {
		again = run.EarlierOf(again, left)
	}
	if last != nil {
		status.LastBackupTime, status.Size = last, size
	}
	if status.StoredBytes != nil {
		status.Size = task.FormatSize(*status.StoredBytes)
	}
	return again
}

// toCome returns when to look again at a time that is still to come, or 0.
func toCome(at *metav1.Time, now time.Time) time.Duration {
	if at == nil || !v1alpha1.Ahead(at.Time, now) {
		return 0
	}
	return min(max(at.Sub(now)-v1alpha1.ClockTolerance, time.Second), clockInterval)
}
