package backupstorage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/retention"
)

// goingInterval is the interval at which a storage is checked whose Repositories still exist, and the shortest for one
// whose users do.
const goingInterval = 10 * time.Second

// finalize releases a storage once nothing uses it: policy goes first, then the Repositories. The storage's
// deletionPolicy decides whether their data goes.
func (r *Reconciler) finalize(ctx context.Context, storage *v1alpha1.BackupStorage) (ctrl.Result, error) {
	if !slices.Contains(storage.Finalizers, v1alpha1.FinalizerWipe) {
		logs.BeingDeleted(ctx, "finalizers", storage.Finalizers)
		return ctrl.Result{}, nil
	}
	repositories, err := r.made(ctx, storage)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(repositories) == 0 {
		return ctrl.Result{}, r.release(ctx, storage, "", 0)
	}
	why, err := read.WhyKept(ctx, r.APIReader, storage)
	if err != nil {
		return ctrl.Result{}, err
	}
	if why != "" {
		because := string(why)
		if why == retention.NamespaceGoes {
			because = "the storage's namespace is being deleted" // its Repositories can be in other namespaces
		}
		r.Event(storage, corev1.EventTypeWarning, v1alpha1.ReasonDataKept,
			"the data stays in the backend, and its Repositories can't be used: "+because)
		return ctrl.Result{}, r.release(ctx, storage, string(why), len(repositories))
	}
	users, err := r.holders(ctx, storage, repositories)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(users) > 0 {
		err := r.say(ctx, storage, v1alpha1.ReasonInUse, users, "the BackupStorage is released once nothing uses it: "+
			"%s. Delete these users first. If the deletion was a mistake, annotate the BackupStorage with "+
			retention.GiveUp(storage)+" and apply it again: its Repositories, their Snapshots and the data stay")
		return ctrl.Result{RequeueAfter: r.heldInterval(storage)}, err
	}
	var names []string
	for i := range repositories {
		if err := r.letRepositoryGo(ctx, storage, &repositories[i]); err != nil {
			return ctrl.Result{}, err
		}
		names = append(names, "Repository "+repositories[i].Namespace+"/"+repositories[i].Name)
	}
	return ctrl.Result{RequeueAfter: goingInterval}, r.say(ctx, storage, v1alpha1.ReasonRemovalPending, names,
		"the BackupStorage is released after its Repositories: %s")
}

// A message names at most maxNames objects, and ends with others if there are more.
const (
	maxNames = 3
	others   = " and others"
)

// firstThree joins at most three names.
func firstThree(names []string) string {
	if len(names) > maxNames {
		return strings.Join(names[:maxNames], ", ") + others
	}
	return strings.Join(names, ", ")
}

// stillTrue reports whether what was said for this reason can stay: it names one of the objects and says that there are
// others. Many objects can go one after the other.
func stillTrue(storage *v1alpha1.BackupStorage, reason string, names []string) bool {
	said := conditions.GetMessage(storage, meta.ReadyCondition)
	return len(names) > maxNames && conditions.GetReason(storage, meta.ReadyCondition) == reason &&
		storage.Status.ObservedGeneration == storage.Generation && strings.Contains(said, others) &&
		slices.ContainsFunc(names, func(name string) bool {
			return strings.Contains(said, name+",") || strings.Contains(said, name+others)
		})
}

// letRepositoryGo deletes a Repository, and first gives it the storage's deletionPolicy. But a storage wipes nothing in
// another namespace, unless the Repository there asks for it, too.
func (r *Reconciler) letRepositoryGo(
	ctx context.Context, storage *v1alpha1.BackupStorage, repository *v1alpha1.Repository,
) error {
	if !repository.DeletionTimestamp.IsZero() {
		return nil
	}
	before := repository.DeepCopy()
	switch {
	case storage.Spec.DeletionPolicy != v1alpha1.WipeOut || repository.Namespace == storage.Namespace:
		repository.Spec.DeletionPolicy = storage.Spec.DeletionPolicy
	case repository.Spec.DeletionPolicy != v1alpha1.WipeOut:
		r.Event(storage, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, fmt.Sprintf(
			"the data of Repository %s/%s stays in the backend: it is in another namespace, and its own "+
				"deletionPolicy is not WipeOut", repository.Namespace, repository.Name))
	}
	if !equality.Semantic.DeepEqual(before.Spec, repository.Spec) {
		if err := r.writer().Object(ctx, before, repository); err != nil {
			return err
		}
	}
	err := r.Delete(ctx, repository, client.Preconditions{
		UID:             &repository.UID,
		ResourceVersion: &repository.ResourceVersion,
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Repository %s/%s: %w", repository.Namespace, repository.Name, err)
	}
	return nil
}

// say writes why the storage still exists: because of the named objects, which the format takes.
func (r *Reconciler) say(
	ctx context.Context, storage *v1alpha1.BackupStorage, reason string, names []string, format string,
) error {
	if stillTrue(storage, reason, names) {
		return nil
	}
	before, message := storage.DeepCopy(), fmt.Sprintf(format, firstThree(names))
	storage.Status.Phase, storage.Status.ObservedGeneration = v1alpha1.PhaseNotReady, storage.Generation
	status.NotReady(storage, reason, message)
	if err := r.writer().Status(ctx, before, storage); err != nil {
		return err
	}
	if conditions.GetReason(before, meta.ReadyCondition) != reason {
		r.Event(storage, corev1.EventTypeWarning, reason, message)
	}
	return nil
}

// release removes the finalizer of the storage, and logs how many Repositories stay behind without it, and why. Without
// Repositories it needs no reason.
func (r *Reconciler) release(ctx context.Context, storage *v1alpha1.BackupStorage, why string, left int) error {
	released, err := r.writer().Release(ctx, storage, v1alpha1.FinalizerWipe)
	log := logf.FromContext(ctx)
	if why != "" {
		log = log.WithValues("why", why)
	}
	if released {
		log.Info("released the BackupStorage", "repositories", left)
	}
	return err
}
