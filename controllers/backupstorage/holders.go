package backupstorage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// longestHeld is the longest interval at which a storage in use is checked. A user that goes wakes it before.
const longestHeld = 5 * time.Minute

// heldInterval returns when to look again at a storage that its users have held since its condition changed: after as
// long as that has been.
func (r *Reconciler) heldInterval(storage *v1alpha1.BackupStorage) time.Duration {
	var held time.Duration
	if ready := conditions.Get(storage, meta.ReadyCondition); ready != nil {
		held = r.Clock.Since(ready.LastTransitionTime.Time)
	}
	return min(max(held, goingInterval), longestHeld)
}

// holders returns what holds a storage that goes: its users and, as long as a Repository is not going, the policies
// that would get it as their default. What the cache does not find is looked for past it: that is the last look before
// data can go, and policy can have been made a moment ago.
func (r *Reconciler) holders(
	ctx context.Context, storage *v1alpha1.BackupStorage, repositories []v1alpha1.Repository,
) ([]string, error) {
	users, err := r.users(ctx, storage)
	if err != nil || len(users) > 0 || !slices.ContainsFunc(repositories, stays) {
		return users, err
	}
	for _, s := range []source{{r.Client, r.Administrators, true}, {r.APIReader, r.Administrators, false}} {
		if users, err = s.users(ctx, storage); err != nil || len(users) > 0 {
			break
		}
	}
	return users, err
}

// source is where policy is read: a cache, or the API server.
type source struct {
	client.Reader
	administrators policy.Administrators
	cached         bool
}

// each lists a kind of the whole cluster: from a cache without copies, from the API server in pages.
func each[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, s source, do func(P)) error {
	if s.cached {
		list := P(new(L))
		if err := s.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		do(list)
		return nil
	}
	return read.Pages(ctx, s.Reader, func(page P) error {
		do(page)
		return nil
	})
}

// users returns the policies that use the storage or would get it as their default. One that names no storage is in no
// index.
func (s source) users(ctx context.Context, storage *v1alpha1.BackupStorage) ([]string, error) {
	use, failed, err := s.use(ctx, storage)
	if err != nil {
		return nil, fmt.Errorf("list what decides who uses BackupStorage %s: %w", storage.Name, err)
	}
	var out []string
	if err := each(ctx, s, func(page *v1alpha1.BackupConfigurationList) {
		for i := range page.Items {
			if c := &page.Items[i]; v1alpha1.InForce(c) && use.ByConfiguration(c) {
				out = append(out, "BackupConfiguration "+c.Namespace+"/"+c.Name)
			}
		}
	}); err != nil {
		return nil, fmt.Errorf("list BackupConfigurations that can use BackupStorage %s: %w", storage.Name, err)
	}
	if err := each(ctx, s, func(page *v1alpha1.BackupBatchList) {
		for i := range page.Items {
			if b := &page.Items[i]; v1alpha1.InForce(b) && use.ByBatch(b) {
				out = append(out, "BackupBatch "+b.Namespace+"/"+b.Name)
			}
		}
	}); err != nil {
		return nil, fmt.Errorf("list BackupBatches that can use BackupStorage %s: %w", storage.Name, err)
	}
	slices.Sort(out)
	return out, *failed
}

// use reads what decides whether policy uses the storage. A Namespace that can't be read sets failed.
func (s source) use(
	ctx context.Context, storage *v1alpha1.BackupStorage,
) (use complete.StorageUse, failed *error, _ error) {
	known := map[client.ObjectKey]*v1alpha1.Repository{}
	if err := each(ctx, s, func(page *v1alpha1.RepositoryList) {
		for i := range page.Items {
			if o := &page.Items[i]; !v1alpha1.HasRecordAnnotation(o.Annotations) {
				known[client.ObjectKeyFromObject(o)] = o
			}
		}
	}); err != nil {
		return use, nil, err
	}
	if err := each(ctx, s, func(page *v1alpha1.BackupStorageList) {
		use.Storages = append(use.Storages, page.Items...)
	}); err != nil {
		return use, nil, err
	}
	use.Storage, use.Administrators, failed = storage, s.administrators, new(error)
	use.Repository = func(namespace, name string) *v1alpha1.Repository {
		return known[client.ObjectKey{Namespace: namespace, Name: name}]
	}
	use.Labels = labelsBy(ctx, s.Reader, failed)
	return use, failed, nil
}
