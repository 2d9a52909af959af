package restorebatch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// elsewhere returns Snapshots that other policies made of the sought targets: the newest good one of each Repository of
// such a target. It asks the Repositories which Snapshots are their newest, and reads only these: a Repository names
// five. known are the Snapshots of the BackupBatch.
func (r *Reconciler) elsewhere(
	ctx context.Context, b *v1alpha1.RestoreBatch, namespace string, sought []restorebatch.Sought,
	known []v1alpha1.Snapshot, repositories []v1alpha1.Repository, now time.Time,
) ([]v1alpha1.Snapshot, error) {
	names := make(map[string]bool, len(known))
	for i := range known {
		names[known[i].Name] = true
	}
	get := r.reader(ctx, namespace)
	var out []v1alpha1.Snapshot
	for i := range repositories {
		for _, x := range sought {
			for _, name := range x.Recent(&repositories[i], &b.Spec.DataSource, names, now) {
				s, err := get(name)
				if err != nil {
					return nil, err
				}
				// Another Snapshot of this name can have come instead.
				if s != nil && s.Spec.Repository == repositories[i].Name && x.Admits(&b.Spec.DataSource, s, now) {
					out = append(out, *s)
					break
				}
			}
		}
	}
	return out, nil
}

// reader returns a function that reads each Snapshot once: several targets can share a Repository. It returns nil for
// one that does not exist.
func (r *Reconciler) reader(ctx context.Context, namespace string) func(name string) (*v1alpha1.Snapshot, error) {
	all := map[string]*v1alpha1.Snapshot{}
	return func(name string) (*v1alpha1.Snapshot, error) {
		if s, known := all[name]; known {
			return s, nil
		}
		s := &v1alpha1.Snapshot{}
		err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Snapshot %s: %w", name, err)
		}
		if err != nil {
			s = nil
		}
		all[name] = s
		return s, nil
	}
}

// underAnotherName lets a refusal say what other policies have made of the targets, if the BackupBatch has made nothing
// so far, or else how to bring back what the cluster has lost. Which objects the targets are, the BackupBatch says, or
// else the RestoreBatch.
func (r *Reconciler) underAnotherName(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start, snapshots []v1alpha1.Snapshot,
	repositories []v1alpha1.Repository,
) error {
	if start.Error.Reason != v1alpha1.ReasonSnapshotNotFound {
		return nil
	}
	gone, err := r.gone(ctx, b, start, snapshots)
	if err != nil {
		return err
	}
	others := slices.ContainsFunc(snapshots, func(s v1alpha1.Snapshot) bool {
		return s.Status.Phase == v1alpha1.SnapshotSucceeded
	})
	if others && !gone {
		return nil
	}
	namespace := start.Resolved.Namespace
	sought, err := r.sought(ctx, b, namespace)
	if err != nil {
		return err
	}
	var elsewhere []v1alpha1.Snapshot
	now := run.Latest(r.Clock.Now(), b.CreationTimestamp)
	if !others {
		elsewhere, err = r.elsewhere(ctx, b, namespace, sought, snapshots, repositories, now)
	}
	if start.Error = restorebatch.UnderAnotherName(start.Error, elsewhere, now); len(elsewhere) == 0 &&
		namespace == b.Namespace {
		start.Error = restorebatch.LostByCluster(start.Error, sought, repositories)
	}
	return err
}

// gone reports whether the RestoreBatch names a run of which there is no Snapshot, and lets the refusal say what became
// of them. What runs another namespace has had is a secret there.
func (r *Reconciler) gone(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start, snapshots []v1alpha1.Snapshot,
) (bool, error) {
	source := &b.Spec.DataSource
	if start.Resolved.Namespace != b.Namespace || !restorebatch.LacksNamed(snapshots, source) {
		return false, nil
	}
	var named v1alpha1.BackupSession
	key := client.ObjectKey{Namespace: b.Namespace, Name: source.BackupSession}
	err := read.Get(ctx, r.APIReader, key, &named)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get BackupSession %s: %w", key, err)
	}
	if err == nil {
		start.Error = restorebatch.SnapshotsGone(start.Error, source, &named)
	}
	return true, nil
}

// sought returns which objects the targets are, as far as that is known.
func (r *Reconciler) sought(
	ctx context.Context, b *v1alpha1.RestoreBatch, namespace string,
) ([]restorebatch.Sought, error) {
	apps := map[string]v1alpha1.TypedObjectReference{}
	if namespace == b.Namespace { // what policy another namespace has is a secret there
		var batch v1alpha1.BackupBatch
		key := client.ObjectKey{Namespace: namespace, Name: b.Spec.DataSource.BackupBatch}
		if err := read.Get(ctx, r.Client, key, &batch); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get BackupBatch %s: %w", key, err)
		}
		for _, t := range policy.KnownTargets(&batch) {
			apps[t.Name] = t.AppRef
		}
	}
	var sought []restorebatch.Sought
	for i := range b.Spec.Targets {
		t := &b.Spec.Targets[i]
		app, ok := apps[t.Name]
		if !ok && t.Target != nil {
			app, ok = *t.Target, true
		}
		if ok {
			sought = append(sought, restorebatch.Sought{App: app, Only: t.Repository})
		}
	}
	return sought, nil
}
