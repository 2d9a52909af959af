package retention

import (
	"context"
	"fmt"
	"maps"
	"slices"

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
// point at the same time.
func (r *Reconciler) confirmSnapshots(ctx context.Context, s *state) error {
	live, err := r.liveSnapshots(ctx, s)
	if err != nil {
		return err
	}
	asked := 0
	for _, snapshot := range s.decided {
		is, exists := live[snapshot.Name]
		delete(live, snapshot.Name)
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
	for name, is := range live {
		if !slices.Contains(repositories, is.Labels[v1alpha1.LabelRepository]) || !v1alpha1.InForce(&is) {
			continue
		}
		if belongs, err := r.belongs(ctx, s, name); err != nil {
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

// leaves reports whether a sibling's Snapshot that goes by the verdicts has only begun to go, or is gone. Each
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
	return live.UID == cached.UID && (!live.DeletionTimestamp.IsZero() || onlyMarked(cached, &live)), nil
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

// liveSnapshots returns the metadata of the Snapshots by name. It finds them by their labels, which anybody can change:
// if one of the Snapshots on which the verdicts rest lacks its label, it lists the whole namespace.
func (r *Reconciler) liveSnapshots(ctx context.Context, s *state) (map[string]metav1.PartialObjectMetadata, error) {
	if repositories := s.repositories(); len(repositories) <= maxSelected {
		labelled, err := labels.NewRequirement(v1alpha1.LabelRepository, selection.In, repositories)
		if err != nil {
			return nil, fmt.Errorf("select Snapshots of Repository %s: %w", s.repository.Name, err)
		}
		ours := labels.NewSelector().Add(*labelled)
		live, err := r.listMetadata(ctx, s, client.MatchingLabelsSelector{Selector: ours})
		if err != nil || !slices.ContainsFunc(s.decided, func(snapshot *v1alpha1.Snapshot) bool {
			return live[snapshot.Name].UID == "" && !s.leaving[snapshot.Name] // one that leaves can be gone
		}) {
			return live, err
		}
	}
	return r.listMetadata(ctx, s)
}

// listMetadata lists Snapshots of the Repository's namespace.
func (r *Reconciler) listMetadata(
	ctx context.Context, s *state, narrow ...client.ListOption,
) (map[string]metav1.PartialObjectMetadata, error) {
	all, err := read.Metadata(ctx, r.APIReader, v1alpha1.SnapshotKind,
		append(narrow, client.InNamespace(s.repository.Namespace))...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]metav1.PartialObjectMetadata, len(all))
	for i := range all {
		out[all[i].Name] = all[i]
	}
	return out, nil
}

// belongs reports whether a Snapshot with the label of one of the Repositories is really one of theirs. One with a
// wrong label must not hold up the removals of others.
func (r *Reconciler) belongs(ctx context.Context, s *state, name string) (bool, error) {
	var live v1alpha1.Snapshot
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.repository.Namespace, Name: name}, &live)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Snapshot %s: %w", name, err)
	}
	of := live.Spec.Repository
	return err == nil && v1alpha1.InForce(&live) && (of == s.repository.Name || slices.Contains(s.siblings, of)), nil
}
