package retention

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
)

const (
	// maxSelected is the number of Repositories that one label selector names. For more, all Snapshots of the namespace
	// are listed.
	maxSelected = 50
	// maxAsked is the number of Snapshots that a pass reads one by one because their metadata does not tell enough.
	// Only those have to be read that a sibling removes at this moment.
	maxAsked = 20
)

// confirmSnapshots compares the Snapshots with those of the API server: no other Snapshots, and none that differs in
// what the verdicts rest on. Their metadata is enough for that, except where a sibling removes its part of a restore
// point at the same time. The Repositories of a large batch share a list for some seconds: see recentLists. It can be
// older than the cache, so what differs from it is compared with a new list. now is the API server's time.
func (r *Reconciler) confirmSnapshots(ctx context.Context, s *state, now time.Time) error {
	if len(s.repositories()) > maxSelected {
		if recent := r.recent.of(s.repository.Namespace, r.Stopwatch(), now); recent != nil {
			err := r.compare(ctx, s, recent)
			if err == nil {
				err = r.confirmNewest(ctx, s)
			}
			if !apierrors.IsConflict(err) {
				return err
			}
		}
	}
	live, err := r.liveSnapshots(ctx, s, now)
	if err != nil {
		return err
	}
	return r.compare(ctx, s, live)
}

// compare returns a conflict if the verdicts do not rest on what was listed.
func (r *Reconciler) compare(ctx context.Context, s *state, live *listed) error {
	asked := 0
	decided := make(map[string]bool, len(s.decided))
	for _, snapshot := range s.decided {
		decided[snapshot.Name] = true
		is, exists := live.snapshots[snapshot.Name]
		if exists && decidesTheSame(snapshot, &is) {
			continue
		}
		if !s.leaving[snapshot.Name] || asked == maxAsked || exists && is.UID != snapshot.UID {
			return behind(v1alpha1.SnapshotKind, snapshot.Name)
		}
		if exists && !is.DeletionTimestamp.IsZero() {
			continue
		}
		asked++
		if leaves, err := r.leaves(ctx, snapshot); err != nil {
			return err
		} else if !leaves {
			return behind(v1alpha1.SnapshotKind, snapshot.Name)
		}
	}
	repositories := s.repositories()
	for name, is := range live.snapshots {
		if decided[name] || !v1alpha1.InForce(&is) ||
			!slices.Contains(repositories, is.Labels[v1alpha1.LabelRepository]) {
			continue
		}
		if gone, err := r.isGone(ctx, live, &is); err != nil {
			return err
		} else if gone {
			continue
		}
		if belongs, err := r.belongs(ctx, s, live, &is); err != nil {
			return err
		} else if belongs {
			return behind(v1alpha1.SnapshotKind, name)
		}
	}
	return nil
}

// decidesTheSame reports whether all that was decided to go goes also with a Snapshot as the API server has it. A
// Snapshot that is being made changes all the time. It keeps nothing but its own restore point: whatever it becomes, no
// other one has to stay because of that.
func decidesTheSame(cached *v1alpha1.Snapshot, live *metav1.PartialObjectMetadata) bool {
	if cached.UID != live.UID {
		return false
	}
	if cached.Status.Phase.Terminal() {
		return cached.ResourceVersion == live.ResourceVersion
	}
	return cached.Generation == live.Generation && maps.Equal(cached.Labels, live.Labels)
}

// leaves reports whether a sibling's Snapshot that goes by the verdicts has at most begun to go, or is gone. Each
// Repository of a batch removes its own part of a restore point, all at about the same time: they must not wait for
// each other. What was decided with the whole point holds while its parts go: it is as if this part had gone first.
func (r *Reconciler) leaves(ctx context.Context, cached *v1alpha1.Snapshot) (bool, error) {
	var live v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(cached), &live)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get Snapshot %s: %w", cached.Name, err)
	}
	same := live.ResourceVersion == cached.ResourceVersion // it lacks the label by which it is found
	return live.UID == cached.UID && (same || !live.DeletionTimestamp.IsZero() || onlyMarked(cached, &live)), nil
}

// onlyMarked reports whether nothing but what remove writes, and what follows from it, differs in a Snapshot that
// remove has marked: conditions and deletionPolicy decide nothing. All else can keep a restore point: spec.paused, a
// label or an annotation, also that a check found data damaged or whole.
func onlyMarked(cached, live *v1alpha1.Snapshot) bool {
	spec, status := live.Spec, live.Status
	spec.DeletionPolicy = cached.Spec.DeletionPolicy
	status.Conditions, status.ObservedGeneration = cached.Status.Conditions, cached.Status.ObservedGeneration
	return retention.Marked(live) && maps.Equal(cached.Labels, live.Labels) &&
		maps.Equal(cached.Annotations, live.Annotations) && equality.Semantic.DeepEqual(cached.Spec, spec) &&
		equality.Semantic.DeepEqual(cached.Status, status)
}

// liveSnapshots lists the metadata of the Snapshots. It finds them by their labels, which anybody can change: if one of
// the Snapshots on which the verdicts rest lacks its label, it lists the whole namespace.
func (r *Reconciler) liveSnapshots(ctx context.Context, s *state, now time.Time) (*listed, error) {
	repositories := s.repositories()
	if len(repositories) > maxSelected {
		all, err := r.listMetadata(ctx, s, now)
		if err == nil {
			r.recent.keep(s.repository.Namespace, all)
		}
		return all, err
	}
	labelled, err := labels.NewRequirement(v1alpha1.LabelRepository, selection.In, repositories)
	if err != nil {
		return nil, fmt.Errorf("select Snapshots of Repository %s: %w", s.repository.Name, err)
	}
	ours := labels.NewSelector().Add(*labelled)
	live, err := r.listMetadata(ctx, s, now, client.MatchingLabelsSelector{Selector: ours})
	if err != nil || !slices.ContainsFunc(s.decided, func(snapshot *v1alpha1.Snapshot) bool {
		return live.snapshots[snapshot.Name].UID == "" && !s.leaving[snapshot.Name] // one that leaves can be gone
	}) {
		return live, err
	}
	return r.listMetadata(ctx, s, now)
}

// listMetadata lists Snapshots of the Repository's namespace. Most of a list is metadata that nobody looks at.
func (r *Reconciler) listMetadata(
	ctx context.Context, s *state, now time.Time, narrow ...client.ListOption,
) (*listed, error) {
	out := &listed{since: r.Stopwatch(), server: now}
	all, err := read.Metadata(ctx, r.APIReader, v1alpha1.SnapshotKind,
		append(narrow, client.InNamespace(s.repository.Namespace))...)
	if err != nil {
		return nil, err
	}
	out.snapshots = make(map[string]metav1.PartialObjectMetadata, len(all))
	for i := range all {
		all[i].ManagedFields, all[i].OwnerReferences = nil, nil
		out.snapshots[all[i].Name] = all[i]
	}
	return out, nil
}

// belongs reports whether a Snapshot with the label of one of the Repositories is really one of theirs, and in force.
// One with a wrong label must not hold up the removals of others.
func (r *Reconciler) belongs(
	ctx context.Context, s *state, live *listed, was *metav1.PartialObjectMetadata,
) (bool, error) {
	var is v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(was), &is)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Snapshot %s: %w", was.Name, err)
	}
	if err != nil || is.UID == was.UID && !is.DeletionTimestamp.IsZero() {
		live.gone.Store(was.UID, true)
		return false, nil
	}
	of := is.Spec.Repository
	return v1alpha1.InForce(&is) && (of == s.repository.Name || slices.Contains(s.siblings, of)), nil
}
