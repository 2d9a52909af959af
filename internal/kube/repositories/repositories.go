// Package repositories binds Repositories to the policy that uses them: it names the policy on them, lists those that
// policy has left behind, and lets them go when a policy is deleted that says so. A Binder is safe for concurrent use.
//
// Invariant: nothing but the deletion of the policy that a user wrote lets a Repository go
// (TestWhatFallsOutOfABatchIsNotWiped).
package repositories

import (
	"context"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
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
// it. A Repository that a policy uses keeps nothing of a departure that was killed.
func (b Binder) Name(
	ctx context.Context, repository *v1alpha1.Repository, configuration *v1alpha1.BackupConfiguration,
) error {
	invoker := policy.InvokerOf(configuration)
	if repository.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn || !repository.DeletionTimestamp.IsZero() {
		return nil
	}
	if err := takeBack(ctx, b.Writer, repository); err != nil || invoker.Marked(repository) {
		return err
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
