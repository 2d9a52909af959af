package repositories

import (
	"context"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
)

// MayGo reports whether a deleted policy lets its Repositories go, or returns why they stay: something takes the policy
// along, or the deletion keeps its dependents.
func (b Binder) MayGo(ctx context.Context, invoker client.Object) (why string, err error) {
	kept, _, err := read.TakenAlong(ctx, b.Live, invoker)
	switch {
	case err != nil:
		return "", err
	case kept != "":
		return string(kept), nil
	case slices.Contains(invoker.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return "the deletion keeps the dependents of the policy", nil
	}
	return "", nil
}

// Departure lets go what a deleted policy used, one Repository after the other. It is not safe for concurrent use.
type Departure struct {
	binder  Binder
	invoker client.Object
	goes    func(*v1alpha1.BackupConfiguration) bool

	// What other batches choose, as of these versions of them. A namespace can have many large batches, and the deleted
	// policy thousands of Repositories.
	versions map[types.UID]string
	chosen   map[string]bool
	unknown  bool // of some batch
	// configured holds the Repositories that BackupConfigurations use which do not go, as of the first deletion. The
	// cache can lack one that was made before the deleted policy went: each kind has a watch of its own.
	configured map[string]bool
}

// Departure returns the departure of a deleted policy. goes reports whether a BackupConfiguration goes with it.
func (b Binder) Departure(invoker client.Object, goes func(*v1alpha1.BackupConfiguration) bool) *Departure {
	return &Departure{binder: b, invoker: invoker, goes: goes}
}

// LetGo deletes a Repository that Cairn made for this target, unless another policy uses it. waits reports that LetGo
// has to be called again, because it is not known yet what another policy uses.
func (d *Departure) LetGo(ctx context.Context, chosen policy.ChosenRepository) (waits bool, err error) {
	b := d.binder
	actual, err := defaults.Repository(ctx,
		client.ObjectKey{Namespace: d.invoker.GetNamespace(), Name: chosen.Name}, b.Client, b.Live)
	if err != nil || actual == nil || !actual.DeletionTimestamp.IsZero() ||
		actual.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn ||
		!policy.SameTarget(actual.Spec.AppRef, chosen.Target) {
		return false, err
	}
	used, waits, err := d.usedByOther(ctx, chosen.Name)
	if err == nil && used {
		err = takeBack(ctx, b.Writer, actual)
	}
	if err != nil || used || waits {
		return waits, err
	}
	before := actual.DeepCopy()
	actual.Spec.DeletionPolicy = v1alpha1.DeleteObjects
	if chosen.DeletionPolicy == v1alpha1.WipeOutRepository {
		actual.Spec.DeletionPolicy = v1alpha1.WipeOut
	}
	if actual.Spec.DeletionPolicy != before.Spec.DeletionPolicy {
		own := before.Spec.DeletionPolicy
		if earlier, ok := noteOn(before); ok {
			own = earlier.own
		}
		kind, err := b.Client.GroupVersionKindFor(d.invoker)
		if err != nil {
			return false, fmt.Errorf("find kind of policy %s: %w", d.invoker.GetName(), err)
		}
		note{own, kind.Kind, d.invoker.GetName(), string(d.invoker.GetUID())}.write(actual)
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
func (d *Departure) usedByOther(ctx context.Context, name string) (used, waits bool, err error) {
	users, err := d.binder.Users.Of(ctx, d.binder.Client, d.invoker.GetNamespace(), name)
	if err != nil {
		return false, false, err
	}
	if slices.ContainsFunc(users, func(u *v1alpha1.BackupConfiguration) bool { return !d.goes(u) }) {
		return true, false, nil
	}
	if err := d.observe(ctx); err != nil {
		return false, false, err
	}
	if d.chosen[name] || d.unknown {
		return d.chosen[name], !d.chosen[name], nil
	}
	if d.configured == nil {
		if err := d.observeConfigurations(ctx); err != nil {
			return false, false, err
		}
	}
	return d.configured[name], false, nil
}

// observeConfigurations looks, past the cache, what BackupConfigurations use that do not go.
func (d *Departure) observeConfigurations(ctx context.Context) error {
	configured := map[string]bool{}
	err := read.Pages(ctx, d.binder.Live, func(page *v1alpha1.BackupConfigurationList) error {
		for i := range page.Items {
			c := &page.Items[i]
			if !v1alpha1.InForce(c) || d.goes(c) {
				continue
			}
			for _, chosen := range policy.ConfigurationRepositories(c) {
				configured[chosen.Name] = true
			}
		}
		return nil
	}, client.InNamespace(d.invoker.GetNamespace()))
	if err != nil {
		return fmt.Errorf("list BackupConfigurations: %w", err)
	}
	d.configured = configured
	return nil
}

// observe looks what other batches choose, unless none of them has changed since the last look.
func (d *Departure) observe(ctx context.Context) error {
	if d.versions != nil {
		changed, err := d.changed(ctx)
		if err != nil || !changed {
			return err
		}
	}
	var batches v1alpha1.BackupBatchList
	if err := d.binder.Live.List(ctx, &batches, client.InNamespace(d.invoker.GetNamespace())); err != nil {
		return fmt.Errorf("list BackupBatches: %w", err)
	}
	d.versions, d.chosen, d.unknown = map[types.UID]string{}, map[string]bool{}, false
	for i := range batches.Items {
		other := &batches.Items[i]
		d.versions[other.UID] = other.ResourceVersion
		if other.UID == d.invoker.GetUID() || !v1alpha1.InForce(other) {
			continue
		}
		for _, c := range policy.BatchRepositories(other, policy.KnownTargets(other)) {
			d.chosen[c.Name] = true
		}
		d.unknown = d.unknown || other.Status.ObservedGeneration != other.Generation
	}
	return nil
}

// changed reports whether the batches of the namespace are others than at the last look.
func (d *Departure) changed(ctx context.Context) (bool, error) {
	batches, err := read.Metadata(ctx, d.binder.Live, v1alpha1.BackupBatchKind,
		client.InNamespace(d.invoker.GetNamespace()))
	if err != nil {
		return false, err
	}
	versions := make(map[types.UID]string, len(batches))
	for i := range batches {
		versions[batches[i].UID] = batches[i].ResourceVersion
	}
	return !maps.Equal(versions, d.versions), nil
}
