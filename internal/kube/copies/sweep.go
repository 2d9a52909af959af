package copies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// Leftover is the copies that a BackupSession left behind.
type Leftover struct {
	// Namespace and Session name the BackupSession.
	Namespace, Session string
	// Ended is that BackupSession, nil where it no longer exists.
	Ended *v1alpha1.BackupSession
	// Names are the names of the copies, in order.
	Names []string

	copies map[string]backup.Copy
}

// Fresh returns the names of the copies that are not being deleted yet, in order.
func (l Leftover) Fresh() []string {
	return slices.DeleteFunc(slices.Clone(l.Names), func(name string) bool { return l.copies[name].Going() })
}

// owner is the BackupSession that copies belong to.
type owner struct {
	namespace, name string
	uid             types.UID
}

// Leftovers finds the copies whose BackupSession has ended or no longer exists. A run removes its copies itself, so
// copies are left over only where something went wrong.
func (m Maker) Leftovers(ctx context.Context) ([]Leftover, error) {
	all, err := m.all(ctx)
	if err != nil {
		return nil, err
	}
	var out []Leftover
	for o, found := range all {
		left := Leftover{Namespace: o.namespace, Session: o.name, Names: slices.Sorted(maps.Keys(found)), copies: found}
		var s v1alpha1.BackupSession
		err := m.Live.Get(ctx, client.ObjectKey{Namespace: o.namespace, Name: o.name}, &s)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get BackupSession %s/%s: %w", o.namespace, o.name, err)
		}
		if !apierrors.IsNotFound(err) && s.UID == o.uid {
			if !s.Status.Phase.Terminal() {
				continue
			}
			left.Ended = &s
		}
		out = append(out, left)
	}
	return out, nil
}

// all returns all copies in the cluster, by name, for each BackupSession.
func (m Maker) all(ctx context.Context) (map[owner]map[string]backup.Copy, error) {
	out := map[owner]map[string]backup.Copy{}
	of := func(o client.Object) map[string]backup.Copy {
		ref := metav1.GetControllerOf(o)
		if ref == nil || ref.Kind != v1alpha1.BackupSessionKind || ref.APIVersion != v1alpha1.GroupVersion.String() {
			return nil // not made by Cairn, whatever its labels say
		}
		by := owner{o.GetNamespace(), ref.Name, ref.UID}
		if out[by] == nil {
			out[by] = map[string]backup.Copy{}
		}
		return out[by]
	}
	marks := []client.ListOption{
		client.HasLabels{v1alpha1.LabelCopy}, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
	}
	var claims corev1.PersistentVolumeClaimList
	if err := m.Live.List(ctx, &claims, marks...); err != nil {
		return nil, fmt.Errorf("list temporary PersistentVolumeClaims: %w", err)
	}
	for i := range claims.Items {
		if found := of(&claims.Items[i]); found != nil {
			found[claims.Items[i].Name] = backup.Copy{Claim: &claims.Items[i]}
		}
	}
	var snapshots snapshotv1.VolumeSnapshotList
	if err := m.Live.List(ctx, &snapshots, marks...); err != nil && !volumesnapshot.NoKind(err) {
		return nil, fmt.Errorf("list temporary VolumeSnapshots: %w", err)
	}
	for i := range snapshots.Items {
		if found := of(&snapshots.Items[i]); found != nil {
			have := found[snapshots.Items[i].Name]
			have.Snapshot = &snapshots.Items[i]
			found[snapshots.Items[i].Name] = have
		}
	}
	return out, nil
}

// Remove deletes the copies that were left behind, and the Jobs whose pods still use them. A deletion that fails holds
// up no other one.
func (m Maker) Remove(ctx context.Context, left Leftover) error {
	var failed []error
	if left.Ended != nil {
		for _, name := range backup.CopyReaderJobNames(left.Ended) {
			failed = append(failed, movers.Delete(ctx, m.Client, m.Live, left.Ended, name, run.Job{}))
		}
	}
	for _, name := range left.Names {
		failed = append(failed, m.Discard(ctx, left.copies[name]))
	}
	return errors.Join(failed...)
}
