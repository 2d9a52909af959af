package keeper

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task"
)

// due returns the work in the Repositories of a place with this storage, and when more work will be due.
func (r *Reconciler) due(
	ctx context.Context, p place, storage *v1alpha1.BackupStorage, now time.Time,
) ([]keeper.Work, time.Time, error) {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, client.InNamespace(p.namespace),
		client.MatchingFields{indexStorage: p.storage.String()}); err != nil {
		return nil, time.Time{}, fmt.Errorf("list Repositories of %s: %w", p.storage, err)
	}
	used, err := restores.InUse(ctx, r.Client)
	if err != nil {
		return nil, time.Time{}, err
	}
	var all []keeper.Work
	var next time.Time
	for i := range list.Items {
		w, at, err := r.dueIn(ctx, &list.Items[i], storage, used, now)
		if err != nil {
			return nil, time.Time{}, err
		}
		next = keeper.EarlierOf(next, at)
		if w == nil || w.Wipe && !policy.KeepsIn(w.Repository, storage) {
			continue // The Repository says that its data lies in another place than the Job would look into.
		}
		all = append(all, *w)
	}
	return all, next, nil
}

// dueIn returns the work in one Repository, or nil if there is none.
func (r *Reconciler) dueIn(
	ctx context.Context, repository *v1alpha1.Repository, storage *v1alpha1.BackupStorage, used index.InUse,
	now time.Time,
) (*keeper.Work, time.Time, error) {
	if !keeper.Works(repository) {
		return nil, time.Time{}, nil
	}
	var snapshots []*v1alpha1.Snapshot
	var held bool
	var err error
	if repository.DeletionTimestamp.IsZero() {
		if snapshots, held, err = r.toRemove(ctx, repository, used, whyHeld(repository, storage, now)); err != nil {
			return nil, time.Time{}, err
		}
	}
	var met keeper.Met
	if repository.DeletionTimestamp.IsZero() && !repository.Spec.Paused {
		if met, err = r.met(ctx, repository, now); err == nil {
			err = r.noteMet(ctx, repository, met, now)
		}
		if err != nil {
			return nil, time.Time{}, err
		}
	}
	w, next := keeper.WorkIn(repository, snapshots, now)
	if held {
		next = keeper.EarlierOf(next, now.Add(storageInterval))
	}
	if w == nil || w.Maintain != task.MaintainFull {
		return w, next, nil
	}
	existing, err := r.existing(ctx, repository)
	if err != nil {
		return nil, time.Time{}, err
	}
	next = keeper.EarlierOf(next, w.CheckFirst(existing, met, now))
	if w.Empty() {
		return nil, next, nil
	}
	return w, next, nil
}

// hold is why retention removes nothing now. An empty reason means that it does.
type hold struct{ reason, message string }

// whyHeld returns why nothing is removed that retention has let go: what it keeps can have lost data since it decided.
// retention.Held begins only when an init Job has found the Repository in its new place.
func whyHeld(repository *v1alpha1.Repository, storage *v1alpha1.BackupStorage, now time.Time) hold {
	_, held := retention.Held(repository, now)
	switch {
	case policy.Lost(repository):
		return hold{v1alpha1.ReasonDirectoryTaken, "nothing that retention lets go is removed while the directory of " +
			"the Repository belongs to another one"}
	case repository.Status.GoneTime != nil:
		return hold{v1alpha1.ReasonNotChecked, "nothing that retention lets go is removed until the repository, " +
			"which was gone, is found again, and a check has looked at each earlier Snapshot"}
	case held || !policy.KeepsIn(repository, storage):
		return hold{v1alpha1.ReasonNotChecked, "nothing that retention lets go is removed until a check has looked " +
			"at each earlier Snapshot in the place that the BackupStorage and the path name now"}
	}
	return hold{}
}

// whyMistaken is why a Snapshot stays for which retention has kept others that are damaged.
var whyMistaken = hold{v1alpha1.ReasonRepositoryDamaged, "retention has let this Snapshot go for others, and a check " +
	"has found some of those damaged since the repository moved or came back: it is not removed before a check finds " +
	"them intact, or they are removed, for at most four weeks after status.movedTime of the Repository"}

// whyLast says why a whole Snapshot stays for which retention has kept others that are damaged or deleted by now, or
// made again by a scan.
const whyLast = "retention has let this Snapshot go for others, and none of those is left whole, as far as is " +
	"known: its data stays until the Repository has another whole Snapshot of its session. To restore it before " +
	"that, name it"

// toRemove returns the deleted Snapshots whose data is to be removed. held reports that some have to wait: a restore
// reads them, their backup has not ended, or retention has let them go and why, or something else but LastSuccess,
// keeps them. The latter say so. What a person has deleted does not wait for that.
func (r *Reconciler) toRemove(
	ctx context.Context, repository *v1alpha1.Repository, used index.InUse, why hold,
) (out []*v1alpha1.Snapshot, held bool, err error) {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, client.InNamespace(repository.Namespace),
		client.MatchingFields{indexWipe: repository.Name}); err != nil {
		return nil, false, fmt.Errorf("list Snapshots of %s: %w", repository.Name, err)
	}
	whole := sync.OnceValues(func() (map[retention.Session]bool, error) { return r.keepsWhole(ctx, repository) })
	now := r.Clock.Now()
	left := map[hold][]*v1alpha1.Snapshot{}
	for i := range list.Items {
		s := &list.Items[i]
		if !retention.Owns(repository, s) {
			continue
		}
		stays, err := whyStays(repository, s, why, whole, now)
		if err != nil {
			return nil, false, err
		}
		if stays.reason != "" {
			left[stays] = append(left[stays], s)
			continue
		}
		user, err := used.User(ctx, r.Client, s)
		if err != nil {
			return nil, false, err
		}
		if user != "" {
			held = true
			continue
		}
		out = append(out, s)
	}
	for stays := range left {
		// A backup that makes another whole Snapshot changes the Repository, and after a check the keeper looks anyway.
		held = held || stays.reason != v1alpha1.ReasonLastSuccess
		logf.FromContext(ctx).V(1).Info("leaves work out", "repository", klog.KObj(repository),
			"snapshots", len(left[stays]), "reason", stays.reason, "message", stays.message)
		if err := r.fail(ctx, &keeper.Work{Repository: repository, Snapshots: left[stays]}, stays.reason,
			stays.message); err != nil {
			return nil, false, err
		}
	}
	return out, held, nil
}

// whyStays returns why a Snapshot that retention has let go stays; an empty reason means that it goes. why holds for
// all of them. whole returns the sessions of which the Repository keeps a whole Snapshot.
func whyStays(
	repository *v1alpha1.Repository, s *v1alpha1.Snapshot, why hold,
	whole func() (map[retention.Session]bool, error), now time.Time,
) (hold, error) {
	if !retention.Marked(s) {
		return hold{}, nil
	}
	if why.reason != "" {
		return why, nil
	}
	if retention.Undamaged(s) { // This comes first: a restore by name takes a Snapshot that stays for this reason.
		if sessions, err := whole(); err != nil || !sessions[retention.SessionOf(s)] {
			return hold{v1alpha1.ReasonLastSuccess, retention.Partly(whyLast, s.Status.Conditions)}, err
		}
	}
	if retention.Mistaken(repository, s, now) {
		return whyMistaken, nil
	}
	return hold{}, nil
}

// keepsWhole returns the sessions of which a Repository keeps a whole Snapshot. For a Snapshot of which nobody knows
// the BackupConfiguration, each session of the name counts.
func (r *Reconciler) keepsWhole(
	ctx context.Context, repository *v1alpha1.Repository,
) (map[retention.Session]bool, error) {
	all, err := snapshotsByRepository.Of(ctx, r.Client, repository.Namespace, repository.Name,
		client.UnsafeDisableDeepCopy)
	out := map[retention.Session]bool{}
	for _, s := range all {
		if s.DeletionTimestamp.IsZero() && retention.Whole(s) && retention.Owns(repository, s) {
			session := retention.SessionOf(s)
			out[session], out[retention.Session{Name: session.Name}] = true, true
		}
	}
	return out, err
}

// idle leaves out the wipes of Repositories that something works with, and reports that on these. It leaves out the
// removals of Snapshots that something works with, or whose data another one needs. It looks for who works past the
// cache: a restore or a backup can have begun after the decision to remove, and the cache of a manager that was paused
// is old. One that begins still later finds that decision.
func (r *Reconciler) idle(ctx context.Context, all []keeper.Work) ([]keeper.Work, error) {
	all, err := r.meant(ctx, all)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(all, func(w keeper.Work) bool { return w.Removes() }) {
		return all, nil
	}
	used, err := index.InUseNow(ctx, r.Client, r.APIReader)
	if err != nil {
		return nil, err
	}
	users, err := r.users(ctx, all, used)
	if err != nil {
		return nil, err
	}
	var out []keeper.Work
	for _, w := range all {
		if w.Snapshots, err = r.unused(ctx, w.Snapshots, used); err != nil {
			return nil, err
		}
		if w.Snapshots, err = r.unshared(ctx, &w); err != nil {
			return nil, err
		}
		user := users[w.Repository.Name]
		if user == "" {
			if !w.Empty() {
				out = append(out, w)
			}
			continue
		}
		before := w.Repository.DeepCopy()
		conditions.MarkFalse(w.Repository, v1alpha1.ConditionWiped, v1alpha1.ReasonInUse,
			"the data is removed later: %s", user)
		if err := r.writer().Status(ctx, before, w.Repository); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("write status of Repository %s: %w", w.Repository.Name, err)
		}
	}
	return out, nil
}

// meant leaves out the removals of Repositories and Snapshots that go with their namespace or kind: nobody meant to
// delete these, and their controllers release them. All work is in one namespace, so one of each kind tells of all.
func (r *Reconciler) meant(ctx context.Context, all []keeper.Work) ([]keeper.Work, error) {
	var repositories, snapshots retention.Kept
	var err error
	if i := slices.IndexFunc(all, func(w keeper.Work) bool { return w.Wipe }); i >= 0 {
		if repositories, _, err = read.TakenAlong(ctx, r.APIReader, all[i].Repository); err != nil {
			return nil, err
		}
	}
	if i := slices.IndexFunc(all, func(w keeper.Work) bool { return len(w.Snapshots) > 0 }); i >= 0 {
		if snapshots, _, err = read.TakenAlong(ctx, r.APIReader, all[i].Snapshots[0]); err != nil {
			return nil, err
		}
	}
	var out []keeper.Work
	for _, w := range all {
		w.Wipe = w.Wipe && repositories == ""
		if snapshots != "" {
			w.Snapshots = nil
		}
		if !w.Empty() {
			out = append(out, w)
		}
	}
	return out, nil
}

// unused returns the Snapshots that nothing works with. The next look finds the others.
func (r *Reconciler) unused(
	ctx context.Context, all []*v1alpha1.Snapshot, used index.InUse,
) (out []*v1alpha1.Snapshot, _ error) {
	for _, s := range all {
		user, err := used.User(ctx, r.APIReader, s)
		if err != nil {
			return nil, err
		}
		if user == "" {
			out = append(out, s)
		}
	}
	return out, nil
}

// users returns what works with the data of each Repository that is wiped, by the Repository's name. It reads all
// Snapshots of the namespace, past the cache: anybody can change their labels.
func (r *Reconciler) users(ctx context.Context, all []keeper.Work, used index.InUse) (map[string]string, error) {
	wiped, users := map[string]*v1alpha1.Repository{}, map[string]string{}
	for _, w := range all {
		if w.Wipe {
			wiped[w.Repository.Name] = w.Repository
			users[w.Repository.Name] = used.Reader(w.Repository)
		}
	}
	if len(wiped) == 0 {
		return users, nil
	}
	err := read.Pages(ctx, r.APIReader, func(page *v1alpha1.SnapshotList) error {
		for i := range page.Items {
			s := &page.Items[i]
			repository := wiped[s.Spec.Repository]
			if repository == nil || users[repository.Name] != "" || !retention.Owns(repository, s) {
				continue
			}
			var err error
			if users[repository.Name], err = used.User(ctx, r.APIReader, s); err != nil {
				return err
			}
		}
		return nil
	}, client.InNamespace(all[0].Repository.Namespace))
	if err != nil {
		return nil, fmt.Errorf("look for what works with the data: %w", err)
	}
	return users, nil
}

// wipeKey returns the index value of a Snapshot whose data a keeper removes.
func wipeKey(o client.Object) []string {
	s := o.(*v1alpha1.Snapshot)
	if !keeper.Removes(s) {
		return nil
	}
	return []string{s.Spec.Repository}
}

// behind reports whether the cache misses the last write to the objects of the work: an earlier Job can have done the
// work already.
func (r *Reconciler) behind(ctx context.Context, all []keeper.Work) (bool, error) {
	for i := range all {
		if behind, err := r.old(ctx, all[i].Repository, &v1alpha1.Repository{}); err != nil || behind {
			return behind, err
		}
		for _, s := range all[i].Snapshots {
			if behind, err := r.old(ctx, s, &v1alpha1.Snapshot{}); err != nil || behind {
				return behind, err
			}
		}
	}
	return false, nil
}

// old reports whether the API server has another version of an object. into must be of the same kind.
func (r *Reconciler) old(ctx context.Context, o, into client.Object) (bool, error) {
	err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(o), into)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %T %s: %w", o, o.GetName(), err)
	}
	return err != nil || into.GetResourceVersion() != o.GetResourceVersion(), nil
}
