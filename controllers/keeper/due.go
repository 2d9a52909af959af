package keeper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/maintenance"
	"github.com/cairn-backup/cairn/internal/task"
)

// work is what is due in one Repository.
type work struct {
	repository *v1alpha1.Repository
	snapshots  []*v1alpha1.Snapshot
	wipe       bool
	maintain   task.Maintenance
	check      []task.Checked
	// began is when the Job that does the work was created.
	began metav1.Time
}

// The limits of one Job: its task must fit into an annotation.
const (
	maxRepositories = 16
	maxSnapshots    = 500
	maxBytes        = 100 << 10
	// maxChecked is the number of components that are checked in a Repository at a time.
	maxChecked = 400
)

// due returns the work in the Repositories of a place, and when more work will be due.
func (r *Reconciler) due(ctx context.Context, p place, now time.Time) ([]work, time.Time, error) {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, client.InNamespace(p.namespace),
		client.MatchingFields{indexStorage: p.storage.String()}); err != nil {
		return nil, time.Time{}, fmt.Errorf("list Repositories of %s: %w", p.storage, err)
	}
	used, err := restores.Snapshots(ctx, r.Client)
	if err != nil {
		return nil, time.Time{}, err
	}
	var all []work
	var next time.Time
	for i := range list.Items {
		w, at, err := r.dueIn(ctx, &list.Items[i], used, now)
		if err != nil {
			return nil, time.Time{}, err
		}
		if next = earlier(next, at); w != nil {
			all = append(all, *w)
		}
	}
	return all, next, nil
}

// dueIn returns the work in one Repository, or nil if there is none.
func (r *Reconciler) dueIn(
	ctx context.Context, repository *v1alpha1.Repository, used index.InUse, now time.Time,
) (*work, time.Time, error) {
	switch {
	case v1alpha1.HasRecordAnnotation(repository.Annotations), repository.Status.InitializedSpec == "":
		return nil, time.Time{}, nil
	case !repository.DeletionTimestamp.IsZero():
		if wiping(repository) {
			return &work{repository: repository, wipe: true}, time.Time{}, nil
		}
		return nil, time.Time{}, nil
	case repository.Spec.Paused:
		return nil, time.Time{}, nil
	}
	snapshots, held, err := r.toRemove(ctx, repository, used)
	if err != nil {
		return nil, time.Time{}, err
	}
	maintain, next := maintenance.Due(stateOf(repository), now)
	if held {
		next = earlier(next, now.Add(storageInterval))
	}
	if len(snapshots) == 0 && maintain == "" {
		return nil, next, nil
	}
	w := &work{repository: repository, snapshots: snapshots, maintain: maintain}
	if maintain == task.MaintainFull {
		w.check, err = r.toCheck(ctx, repository)
	}
	return w, next, err
}

// wiping reports whether the Repository's controller has decided to wipe the directory.
func wiping(r *v1alpha1.Repository) bool {
	c := conditions.Get(r, v1alpha1.ConditionWiped)
	return r.Spec.DeletionPolicy == v1alpha1.WipeOut && slices.Contains(r.Finalizers, v1alpha1.FinalizerWipe) &&
		r.Annotations[v1alpha1.AnnotationGiveUp] != "true" && c != nil && c.Status != "True" &&
		c.Reason != v1alpha1.ReasonInUse
}

// stateOf returns the state of the Repository's maintenance.
func stateOf(r *v1alpha1.Repository) maintenance.State {
	s := maintenance.State{
		Identity: string(r.UID), Created: r.CreationTimestamp.Time,
		Damaged: r.Status.Integrity != nil && !*r.Status.Integrity,
	}
	if t := r.Status.LastBackupTime; t != nil {
		s.Changed = t.Time
	}
	if t := r.Status.LastRemovalTime; t != nil && t.After(s.Changed) {
		s.Changed = t.Time
	}
	if m := r.Status.LastMaintenance; m != nil {
		if m.Quick != nil {
			s.Quick = m.Quick.Time
		}
		if m.Full != nil {
			s.Full = m.Full.Time
		}
	}
	return s
}

// toRemove returns the deleted Snapshots whose data is to be removed. held reports that some have to wait: a restore
// reads them, or their backup has not ended.
func (r *Reconciler) toRemove(
	ctx context.Context, repository *v1alpha1.Repository, used index.InUse,
) (out []*v1alpha1.Snapshot, held bool, err error) {
	var list v1alpha1.SnapshotList
	if err := r.List(ctx, &list, client.InNamespace(repository.Namespace),
		client.MatchingFields{indexWipe: repository.Name}); err != nil {
		return nil, false, fmt.Errorf("list Snapshots of %s: %w", repository.Name, err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		running, err := r.unfinished(ctx, s)
		if err != nil {
			return nil, false, err
		}
		if running || used.By(s) != "" {
			held = true
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *v1alpha1.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return out, held, nil
}

// unfinished reports whether a backup can still write the Snapshot's data.
func (r *Reconciler) unfinished(ctx context.Context, s *v1alpha1.Snapshot) (bool, error) {
	if s.Status.Phase.Terminal() {
		return false, nil
	}
	var session v1alpha1.BackupSession
	err := r.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.BackupSession}, &session)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get BackupSession %s: %w", s.Spec.BackupSession, err)
	}
	return !session.Status.Phase.Terminal(), nil
}

// wipeKey returns the index value of a Snapshot whose data a keeper removes.
func wipeKey(o client.Object) []string {
	s := o.(*v1alpha1.Snapshot)
	if s.DeletionTimestamp.IsZero() || s.Spec.DeletionPolicy != v1alpha1.WipeOut ||
		v1alpha1.HasRecordAnnotation(s.Annotations) ||
		!slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe) || s.Annotations[v1alpha1.AnnotationGiveUp] == "true" {
		return nil
	}
	return []string{s.Spec.Repository}
}

// removed converts Snapshots to the form of a keeper's task.
func removed(snapshots []*v1alpha1.Snapshot) []task.Removed {
	var out []task.Removed
	for _, s := range snapshots {
		out = append(out, task.Removed{Name: s.Name, UID: s.UID, IDs: idsOf(s)})
	}
	return out
}

func idsOf(s *v1alpha1.Snapshot) []string {
	var ids []string
	for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
		if id := s.Status.Components[name].ID; id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// behind reports whether the cache misses the last write to the objects of the work: an earlier Job can have done the
// work already.
func (r *Reconciler) behind(ctx context.Context, all []work) (bool, error) {
	for i := range all {
		if behind, err := r.old(ctx, all[i].repository, &v1alpha1.Repository{}); err != nil || behind {
			return behind, err
		}
		for _, s := range all[i].snapshots {
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

// limitToJob returns as much of the work as fits into one Job.
func limitToJob(all []work) []work {
	var out []work
	snapshots, bytes := 0, 0
	for _, w := range all {
		if len(out) == maxRepositories {
			break
		}
		for i, s := range w.snapshots {
			size := len(s.Name) + 64
			for _, id := range idsOf(s) {
				size += len(id) + 3
			}
			if snapshots == maxSnapshots || bytes > 0 && bytes+size > maxBytes {
				w.snapshots = w.snapshots[:i]
				break
			}
			snapshots, bytes = snapshots+1, bytes+size
		}
		for i, c := range w.check {
			size := len(c.Snapshot) + len(c.Component) + len(c.ID) + 96
			if bytes+size > maxBytes {
				w.check = w.check[:i]
				break
			}
			bytes += size
		}
		if w.wipe || w.maintain != "" || len(w.snapshots) > 0 {
			out = append(out, w)
		}
	}
	return out
}
