package restorebatch

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// obstacle is what prevents the restore of a target, and how long to wait for that to pass.
type obstacle struct {
	refusal *v1alpha1.ResolvedError
	wait    time.Duration
}

// data looks at what the targets of a RestoreBatch are restored from. Targets can share a Repository, and most share
// its BackupStorage and password: it looks at each once.
type data struct {
	*Reconciler
	batch        *v1alpha1.RestoreBatch
	namespace    string // of the Repositories
	repositories map[string]*repository
	access       map[v1alpha1.ResolvedRepository]obstacle
}

// repository is a Repository, nil if it does not exist, and what prevents restores from it.
type repository struct {
	*v1alpha1.Repository
	obstacle
}

// awaitData makes a RestoreBatch wait until it can read the data of all targets, as the RestoreSession of a target
// would, or refuses it. It also refuses a target whose task can't be resolved. The RestoreSession asks only when the
// preRestore hooks have run, workloads have lost their pods, and other targets are overwritten. A target that has what
// an identical restore filled needs no data: it is skipped.
func (r *Reconciler) awaitData(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start, chosen map[string]*v1alpha1.Snapshot,
) error {
	from := &data{
		r, b, start.Resolved.Namespace, map[string]*repository{}, map[v1alpha1.ResolvedRepository]obstacle{},
	}
	filledBefore := r.filledBefore(ctx, b)
	for i := range start.Resolved.Targets {
		t := b.Spec.Targets[i]
		t.Target = start.Resolved.Targets[i].Target
		found, err := from.obstacle(ctx, &t, chosen[t.Name])
		if err != nil {
			return err
		}
		if found.refusal == nil || start.Error != nil && found.wait > 0 && found.wait <= start.Wait {
			continue
		}
		filled, err := filledBefore(&t)
		if err != nil {
			return err
		}
		if filled {
			continue
		}
		start.Error, start.Wait = restorebatch.WithoutData(t.Name, found.refusal), found.wait
		if found.wait == 0 {
			return nil
		}
	}
	return nil
}

// obstacle returns what prevents the restore of a target from a Snapshot.
func (d *data) obstacle(
	ctx context.Context, t *v1alpha1.RestoreBatchTarget, s *v1alpha1.Snapshot,
) (obstacle, error) {
	if refusal := restorebatch.ComponentRefusal(t, s); refusal != nil {
		return obstacle{refusal: refusal}, nil
	}
	if found, err := d.task(ctx, t, s); found.refusal != nil || err != nil {
		return found, err
	}
	repo, err := d.repository(ctx, s.Spec.Repository)
	if err != nil || repo.refusal != nil {
		return repo.obstacle, err
	}
	secret := restorebatch.EncryptionSecret(d.batch, t)
	resolved := read.ResolveRepository(repo.Repository, secret, d.batch.Namespace)
	if resolved.StorageRef.Name == "" { // VolumeSnapshots need no credentials
		return obstacle{}, nil
	}
	of := movers.Owner{Cluster: d.ClusterName, Namespace: d.namespace}
	_, err = movers.AllowedStorage(ctx, d.Client, of, d.batch.Namespace, resolved)
	if refusal := movers.RefusalOf(err); refusal != nil {
		return obstacle{refusal: refusal, wait: run.WaitForChild}, nil
	} else if err != nil {
		return obstacle{}, err
	}
	resolved.Name, resolved.UID, resolved.Directory = "", "", ""
	found, known := d.access[resolved]
	if known {
		return found, nil
	}
	err = movers.CheckAccess(ctx, d.Client, d.batch.Namespace, resolved)
	if d.namespace != d.batch.Namespace && secret == nil {
		err = movers.NamePassword(err, d.batch.Namespace)
	}
	if found.refusal = movers.RefusalOf(err); found.refusal != nil {
		found.wait, err = run.WaitForChild, nil // a GitOps tool can have applied it at the same moment
	}
	d.access[resolved] = found
	return found, err
}

// repository returns a Repository of the Snapshots.
func (d *data) repository(ctx context.Context, name string) (*repository, error) {
	if known := d.repositories[name]; known != nil {
		return known, nil
	}
	out := &repository{}
	var err error
	out.Repository, out.refusal, out.wait, err = read.RestoredRepository(ctx, d.Client,
		client.ObjectKey{Namespace: d.namespace, Name: name})
	d.repositories[name] = out
	return out, err
}
