// Package repositories binds Repositories to the policy that uses them: it names the policy on them, lists those that
// policy has left behind, and lets them go when a policy is deleted that says so. A Binder is safe for concurrent use.
//
// Invariant: nothing but the deletion of the policy that a user wrote lets a Repository go
// (TestWhatFallsOutOfABatchIsNotWiped).
package repositories

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Again is the time after which a deleted policy looks again at what it waits for.
const Again = time.Second

// Binder binds Repositories to the policies of one controller.
type Binder struct {
	// Client reads from the cache, which has the indexes, and writes. Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Writer writes the Repositories.
	Writer status.Writer
	// Users and Marked are the indexes of the controller.
	Users  index.Users
	Marked index.Marked
}

// Name names the policy on a Repository that Cairn made, unless the Repository names another policy that still uses
// it.
func (b Binder) Name(
	ctx context.Context, repository *v1alpha1.Repository, configuration *v1alpha1.BackupConfiguration,
) error {
	invoker := policy.InvokerOf(configuration)
	if repository.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn || invoker.Marked(repository) ||
		!repository.DeletionTimestamp.IsZero() {
		return nil
	}
	users, err := b.Users.Of(ctx, b.Client, repository.Namespace, repository.Name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(users, func(u *v1alpha1.BackupConfiguration) bool {
		return u.UID != configuration.UID && policy.InvokerOf(u).Marked(repository)
	}) {
		return nil
	}
	before := repository.DeepCopy()
	maps.Copy(repository.Labels, invoker.Labels())
	return b.Writer.Object(ctx, before, repository)
}

// Retained lists the Repositories that name a policy, but that no policy uses any more. chosen is what the policy
// chooses now.
func (b Binder) Retained(
	ctx context.Context, namespace string, invoker policy.Invoker, chosen []policy.ChosenRepository,
) (v1alpha1.RetainedRepositories, error) {
	marked, err := b.Marked.Of(ctx, b.Client, namespace, invoker)
	if err != nil {
		return v1alpha1.RetainedRepositories{}, err
	}
	names := make(map[string]bool, len(chosen))
	var targets []v1alpha1.TypedObjectReference
	for _, c := range chosen {
		names[c.Name] = true
		targets = append(targets, c.Target)
	}
	var failed error
	out := policy.Retained(marked, func(r *v1alpha1.Repository) bool {
		if names[r.Name] || failed != nil {
			return true
		}
		users, err := b.Users.Of(ctx, b.Client, namespace, r.Name)
		failed = err
		return len(users) > 0
	}, targets)
	return out, failed
}

// MayGo reports whether a deleted policy lets its Repositories go, or returns why they stay: its namespace is being
// deleted too, or the deletion keeps the policy's dependents.
func (b Binder) MayGo(ctx context.Context, invoker client.Object) (why string, err error) {
	var namespace corev1.Namespace
	err = b.Live.Get(ctx, client.ObjectKey{Name: invoker.GetNamespace()}, &namespace)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return "", fmt.Errorf("get Namespace %s: %w", invoker.GetNamespace(), err)
	case err != nil || !namespace.DeletionTimestamp.IsZero():
		return "the namespace is being deleted", nil
	case slices.Contains(invoker.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return "the deletion keeps the dependents of the policy", nil
	}
	return "", nil
}

// LetGo deletes a Repository that Cairn made for this target, unless another policy uses it. goes reports whether a
// BackupConfiguration goes with the deleted policy. waits reports that LetGo has to be called again, because it is not
// known yet what another policy uses.
func (b Binder) LetGo(
	ctx context.Context, invoker client.Object, chosen policy.ChosenRepository,
	goes func(*v1alpha1.BackupConfiguration) bool,
) (waits bool, err error) {
	namespace := invoker.GetNamespace()
	actual, err := defaults.Repository(ctx, client.ObjectKey{Namespace: namespace, Name: chosen.Name}, b.Client, b.Live)
	if err != nil || actual == nil || !actual.DeletionTimestamp.IsZero() ||
		actual.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn ||
		!policy.SameTarget(actual.Spec.AppRef, chosen.Target) {
		return false, err
	}
	used, waits, err := b.usedByOther(ctx, invoker, chosen.Name, goes)
	if err != nil || used || waits {
		return waits, err
	}
	before := actual.DeepCopy()
	actual.Spec.DeletionPolicy = v1alpha1.DeleteObjects
	if chosen.DeletionPolicy == v1alpha1.WipeOutRepository {
		actual.Spec.DeletionPolicy = v1alpha1.WipeOut
	}
	if actual.Spec.DeletionPolicy != before.Spec.DeletionPolicy {
		if err := b.Writer.Object(ctx, before, actual); err != nil {
			return false, err
		}
	}
	err = b.Client.Delete(ctx, actual, client.Preconditions{UID: &actual.UID, ResourceVersion: &actual.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("delete Repository %s: %w", actual.Name, err)
	}
	return false, nil
}

// usedByOther reports whether a BackupConfiguration that does not go with the deleted policy uses a Repository, or a
// BackupBatch that has not created its BackupConfigurations yet. Of a batch that was not reconciled since its last
// change nobody knows what it uses: then the answer waits.
func (b Binder) usedByOther(
	ctx context.Context, invoker client.Object, name string, goes func(*v1alpha1.BackupConfiguration) bool,
) (used, waits bool, err error) {
	users, err := b.Users.Of(ctx, b.Client, invoker.GetNamespace(), name)
	if err != nil {
		return false, false, err
	}
	if slices.ContainsFunc(users, func(u *v1alpha1.BackupConfiguration) bool { return !goes(u) }) {
		return true, false, nil
	}
	var batches v1alpha1.BackupBatchList
	if err := b.Live.List(ctx, &batches, client.InNamespace(invoker.GetNamespace())); err != nil {
		return false, false, fmt.Errorf("list BackupBatches: %w", err)
	}
	for i := range batches.Items {
		other := &batches.Items[i]
		if other.UID == invoker.GetUID() || !other.DeletionTimestamp.IsZero() ||
			v1alpha1.HasRecordAnnotation(other.Annotations) {
			continue
		}
		if slices.ContainsFunc(policy.BatchRepositories(other, policy.KnownTargets(other)),
			func(c policy.ChosenRepository) bool { return c.Name == name }) {
			return true, false, nil
		}
		waits = waits || other.Status.ObservedGeneration != other.Generation
	}
	return false, waits, nil
}
