package snapshot

import (
	"context"
	"fmt"
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
)

// mark makes a Snapshot that is being deleted go with its data, if its Repository is being wiped. With foreground
// deletion the garbage collector deletes the Snapshots before the Repository's own finalizer has marked them, or while
// that waits. Without the mark nobody would record that the data went.
func (r *Reconciler) mark(ctx context.Context, s *v1alpha1.Snapshot) error {
	if s.Spec.DeletionPolicy == v1alpha1.WipeOut || v1alpha1.HasRecordAnnotation(s.Annotations) {
		return nil
	}
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}
	err := r.APIReader.Get(ctx, key, &repository) // The cache can lack that it is being deleted.
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("get Repository %s: %w", key, err)
	case !takesAlong(&repository, s):
		return nil
	case !policy.HoldsVolumeSnapshots(&repository):
		if why, err := r.whyKept(ctx, s); why != "" || err != nil {
			return err
		}
	}
	if keeps, err := r.keepsAll(ctx, &repository); keeps || err != nil {
		return err
	}
	before := s.DeepCopy()
	retention.MarkRepositoryWiped(s)
	if err := r.writer().Status(ctx, before, s); err != nil {
		return err
	}
	before = s.DeepCopy()
	s.Spec.DeletionPolicy = v1alpha1.WipeOut
	return r.writer().Object(ctx, before, s)
}

// keepsAll reports whether a Repository that is being deleted keeps its data because all Repositories go. Its
// controller can be about to say so.
func (r *Reconciler) keepsAll(ctx context.Context, repository *v1alpha1.Repository) (bool, error) {
	if conditions.IsTrue(repository, v1alpha1.ConditionWiped) {
		return false, nil // It is too late.
	}
	return r.repositories.goes(r.Clock.Now(), repository.UID,
		func() ([]types.UID, error) { return r.deletedRepositories(ctx) },
		func() (bool, error) { return read.KindGoes(ctx, r.APIReader, repository) })
}

// deletedRepositories returns the Repositories of all namespaces that the cache knows to be being deleted.
func (r *Reconciler) deletedRepositories(ctx context.Context) ([]types.UID, error) {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the Repositories that are being deleted: %w", err)
	}
	var out []types.UID
	for i := range list.Items {
		if o := &list.Items[i]; !o.DeletionTimestamp.IsZero() {
			out = append(out, o.UID)
		}
	}
	return out, nil
}

// takesAlong reports whether the data of a Snapshot goes with its Repository.
func takesAlong(r *v1alpha1.Repository, s *v1alpha1.Snapshot) bool {
	switch {
	case r.DeletionTimestamp.IsZero(), r.Spec.DeletionPolicy != v1alpha1.WipeOut:
		return false
	case policy.HoldsVolumeSnapshots(r):
		return !retention.IsGivenUp(r)
	case !retention.Owns(r, s), v1alpha1.HasRecordAnnotation(r.Annotations):
		return false
	case conditions.IsTrue(r, v1alpha1.ConditionWiped):
		return true // It is too late to give it up.
	}
	return r.Status.InitializedSpec != "" && !released(r) && !retention.IsGivenUp(r)
}

// released reports whether the data of a Repository that is being deleted stays, or is gone. Foreground deletion holds
// such a Repository until its Snapshots have gone.
func released(r *v1alpha1.Repository) bool {
	return !r.DeletionTimestamp.IsZero() && !slices.Contains(r.Finalizers, v1alpha1.FinalizerWipe)
}
