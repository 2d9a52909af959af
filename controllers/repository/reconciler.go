// Package repository reconciles Repositories: it finds or creates each in its directory through an init Job, and keeps
// count of the Snapshots in it.
package repository

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/patch"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Reconciler reconciles Repositories.
type Reconciler struct {
	client.Client
	record.EventRecorder
	controller.Metrics

	// APIReader reads Secrets from the API server.
	APIReader client.Reader
	// Scheme of the client.
	Scheme *runtime.Scheme
	// Clock tells when a failed init Job is tried again.
	Clock clock.PassiveClock
	// MoverImage is the image of init Jobs.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// FieldManager of what is written.
	FieldManager string
}

// Reconcile brings one Repository's init Job and status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, retErr error) {
	start := r.Clock.Now()
	repository := &v1alpha1.Repository{}
	if err := r.Get(ctx, req.NamespacedName, repository); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v1alpha1.HasRecordAnnotation(repository.Annotations) || !repository.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	before := repository.DeepCopy()
	patcher := patch.NewSerialPatcher(repository, r.Client)
	defer func() {
		if err := patcher.Patch(ctx, repository, patch.WithOwnedConditions{Conditions: ownedConditions}, patch.WithFieldOwner(r.FieldManager)); err != nil {
			retErr = kerrors.NewAggregate([]error{retErr, client.IgnoreNotFound(err)})
			return
		}
		r.announce(before, repository)
		r.RecordReadiness(ctx, repository)
		r.RecordReconciling(ctx, repository)
		r.RecordStalled(ctx, repository)
		r.RecordDuration(ctx, repository, start)
	}()
	return r.reconcile(ctx, repository)
}

func (r *Reconciler) reconcile(ctx context.Context, repository *v1alpha1.Repository) (ctrl.Result, error) {
	repository.Status.ObservedGeneration = repository.Generation
	if err := r.count(ctx, repository); err != nil {
		return ctrl.Result{}, err
	}
	if _, err := layout.NormalizeDirectory(repository.Spec.Path); err != nil {
		stall(repository, v1alpha1.ReasonInvalidPath, err.Error()+": make another Repository")
		return ctrl.Result{}, nil
	}
	owner, err := r.elder(ctx, repository)
	if err != nil {
		return ctrl.Result{}, err
	}
	if owner != "" {
		stall(repository, v1alpha1.ReasonDirectoryTaken, "Repository "+owner+" has this directory already: make another Repository in another directory")
		return ctrl.Result{}, nil
	}
	storage, err := r.storage(ctx, repository)
	if reason, message, ok := access.ReasonOf(err); ok {
		notReady(repository, reason, message)
		return ctrl.Result{}, nil // the storage and the namespace are watched
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.initialise(ctx, repository, storage)
}

// storage gives the repository's BackupStorage, or why it can't be used from here as an *access.Error.
func (r *Reconciler) storage(ctx context.Context, repository *v1alpha1.Repository) (*v1alpha1.BackupStorage, error) {
	key := client.ObjectKey{Namespace: repository.Spec.StorageRef.Namespace, Name: repository.Spec.StorageRef.Name}
	if key.Namespace == "" {
		key.Namespace = repository.Namespace
	}
	storage := &v1alpha1.BackupStorage{}
	err := r.Get(ctx, key, storage)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get storage %s: %w", key, err)
	}
	if err != nil {
		return nil, &access.Error{Reason: v1alpha1.ReasonStorageNotFound, Message: fmt.Sprintf("there is no BackupStorage %s", key)}
	}
	if err := access.Allowed(ctx, r.Client, storage, repository.Namespace); err != nil {
		return nil, err
	}
	if storage.Status.Phase != v1alpha1.PhaseReady || storage.Status.ObservedGeneration != storage.Generation {
		return nil, &access.Error{Reason: v1alpha1.ReasonStorageNotReady, Message: fmt.Sprintf("BackupStorage %s is not ready: its status says why", key)}
	}
	return storage, nil
}

// elder is the oldest other Repository of the directory that is older than this one, "" where there is none.
func (r *Reconciler) elder(ctx context.Context, repository *v1alpha1.Repository) (string, error) {
	var list v1alpha1.RepositoryList
	if err := r.List(ctx, &list, client.MatchingFields{indexDirectory: directoryOf(repository)}); err != nil {
		return "", fmt.Errorf("list repositories of the directory: %w", err)
	}
	oldest := repository
	for i := range list.Items {
		other := &list.Items[i]
		if !v1alpha1.HasRecordAnnotation(other.Annotations) && policy.Older(other, oldest) {
			oldest = other
		}
	}
	if oldest == repository {
		return "", nil
	}
	return oldest.Namespace + "/" + oldest.Name, nil
}

// directoryOf identifies the directory of a Repository.
func directoryOf(r *v1alpha1.Repository) string {
	return policy.DirectoryKey(r.Namespace, r.Spec.StorageRef, r.Spec.Path)
}

// announce tells of a change of readiness, once.
func (r *Reconciler) announce(before, after *v1alpha1.Repository) {
	was, is := conditions.Get(before, meta.ReadyCondition), conditions.Get(after, meta.ReadyCondition)
	if is == nil || is.Reason == v1alpha1.ReasonProgressing || was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	kind := corev1.EventTypeNormal
	if !conditions.IsReady(after) {
		kind = corev1.EventTypeWarning
	}
	r.Event(after, kind, is.Reason, is.Message)
}
