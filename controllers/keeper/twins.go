package keeper

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/retention"
)

// names returns the names of the Snapshots that a Repository has, by snapshotID, past the cache. One that stays comes
// before one that goes.
func (r *Reconciler) names(ctx context.Context, repository *v1alpha1.Repository) (map[string]string, error) {
	stay, going := map[string]string{}, map[string]string{}
	err := read.Pages(ctx, r.APIReader, func(page *v1alpha1.SnapshotList) error {
		for i := range page.Items {
			s := &page.Items[i]
			if s.Spec.Repository != repository.Name || v1alpha1.HasRecordAnnotation(s.Annotations) {
				continue
			}
			into := going
			if s.DeletionTimestamp.IsZero() && retention.Owns(repository, s) {
				into = stay
			}
			if _, ok := into[s.Spec.SnapshotID]; !ok {
				into[s.Spec.SnapshotID] = s.Name
			}
		}
		return nil
	}, client.InNamespace(repository.Namespace))
	if err != nil {
		return nil, fmt.Errorf("list Snapshots of Repository %s: %w", repository.Name, err)
	}
	maps.Copy(going, stay)
	return going, nil
}

// place returns the Snapshot of this name, and makes it if there is none. It returns nil if the name belongs to another
// Snapshot.
func (b *rebuilding) place(ctx context.Context, want *v1alpha1.Snapshot) (*v1alpha1.Snapshot, error) {
	have := &v1alpha1.Snapshot{}
	err := b.Get(ctx, client.ObjectKeyFromObject(want), have)
	if apierrors.IsNotFound(err) {
		if b.frozen[want.Name] { // the run makes it, in whichever Repository
			return nil, nil
		}
		have = want.DeepCopy()
		have.Status = v1alpha1.SnapshotStatus{ObservedGeneration: -1}
		if err = b.Create(ctx, have, client.FieldOwner(b.FieldManager)); apierrors.IsAlreadyExists(err) {
			err = b.APIReader.Get(ctx, client.ObjectKeyFromObject(want), have)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make Snapshot %s/%s again: %w", want.Namespace, want.Name, err)
	}
	if have.Spec.Repository != want.Spec.Repository || v1alpha1.HasRecordAnnotation(have.Annotations) ||
		have.Spec.SnapshotID != want.Spec.SnapshotID {
		return nil, nil
	}
	return have, nil
}

// unshared returns the Snapshots whose data no other one needs. An earlier version could make two Snapshots of one
// backup: as long as the other one has its data, the data stays, and the Snapshot is released. The other one can be
// deleted too: a restore holds it, or its removal is left to the next Job. Then the message does not say that the data
// stays.
func (r *Reconciler) unshared(ctx context.Context, w *keeper.Work) (out []*v1alpha1.Snapshot, _ error) {
	if len(w.Snapshots) == 0 {
		return nil, nil
	}
	all, err := snapshotsByRepository.Of(ctx, r.Client, w.Repository.Namespace, w.Repository.Name)
	if err != nil {
		return nil, err
	}
	goes := map[types.UID]bool{}
	for _, s := range w.Snapshots {
		goes[s.UID] = true
	}
	var stay, leave []*v1alpha1.Snapshot
	for _, s := range all {
		released := !s.DeletionTimestamp.IsZero() && !slices.Contains(s.Finalizers, v1alpha1.FinalizerWipe)
		switch {
		case goes[s.UID] || released || !retention.Owns(w.Repository, s):
		case keeper.Removes(s):
			leave = append(leave, s)
		default:
			stay = append(stay, s)
		}
	}
	staying, leaving := keeper.NeedsOf(stay), keeper.NeedsOf(leave)
	for _, s := range w.Snapshots {
		why := ""
		if other := staying.Of(s); other != "" {
			why = "the data stays in the backend: Snapshot " + other + " is of the same backup and needs it"
		} else if other := leaving.Of(s); other != "" {
			why = "the data goes or stays with Snapshot " + other +
				", which is of the same backup and is being deleted too"
		} else {
			out = append(out, s)
			continue
		}
		why = retention.Partly(why, s.Status.Conditions)
		if err := r.release(ctx, s, false, why); err != nil {
			return nil, err
		}
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, why)
	}
	return out, nil
}
