package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// ofVolumeSnapshots reports whether a component of a Snapshot has driver VolumeSnapshotter.
func ofVolumeSnapshots(s *v1alpha1.Snapshot) bool {
	return slices.ContainsFunc(components(s),
		func(c v1alpha1.Component) bool { return c.Driver == v1alpha1.DriverVolumeSnapshotter })
}

// holdsVolumeSnapshots reports the same as ofVolumeSnapshots, also if no component has reported its driver yet.
func (r *Reconciler) holdsVolumeSnapshots(ctx context.Context, s *v1alpha1.Snapshot) (bool, error) {
	if ofVolumeSnapshots(s) {
		return true, nil
	}
	var repository v1alpha1.Repository
	err := r.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}, &repository)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Repository %s: %w", s.Spec.Repository, err)
	}
	return err == nil && policy.HoldsVolumeSnapshots(&repository), nil
}

// neverBackup reports whether a VolumeSnapshot of an ended Snapshot belongs to no successful component: it never was a
// backup.
func neverBackup(s *v1alpha1.Snapshot, v *snapshotv1.VolumeSnapshot) bool {
	return s.Status.Phase.Terminal() && volumesnapshot.MadeBySnapshotJob(v, policy.LabelValue(s.Name), s.UID) &&
		!slices.ContainsFunc(components(s), func(c v1alpha1.Component) bool {
			return c.Phase == v1alpha1.SnapshotSucceeded && types.UID(c.ID) == v.UID
		})
}

// clean removes the VolumeSnapshots of a Snapshot that never became a backup, once none of its Jobs works any more.
func (r *Reconciler) clean(ctx context.Context, s *v1alpha1.Snapshot) (ctrl.Result, error) {
	var live v1alpha1.Snapshot // The cache can lack the end of a component.
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(s), &live); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	holds, err := r.holdsVolumeSnapshots(ctx, &live)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !holds {
		logf.FromContext(ctx).V(1).Info("nothing to do: the Snapshot holds no VolumeSnapshots")
		return ctrl.Result{}, nil
	}
	if live.UID != s.UID || !live.DeletionTimestamp.IsZero() || !live.Status.Phase.Terminal() {
		logf.FromContext(ctx).V(1).Info(
			"nothing to do: the Snapshot has not ended, is being deleted, or was made again")
		return ctrl.Result{}, nil
	}
	user, err := r.user(ctx, &live)
	if err != nil {
		return ctrl.Result{}, err
	}
	if user != "" {
		logf.FromContext(ctx).V(1).Info("waits to remove leftover VolumeSnapshots", "why", user)
		return ctrl.Result{RequeueAfter: inUseInterval}, nil
	}
	found, err := r.find(ctx, &live)
	if notSupported(err) {
		logf.FromContext(ctx).V(1).Info("nothing to do: the cluster has no kind VolumeSnapshot")
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	leftovers := slices.DeleteFunc(found.ours,
		func(v snapshotv1.VolumeSnapshot) bool { return !stays(v) || !neverBackup(&live, &v) })
	if len(leftovers) == 0 {
		return ctrl.Result{}, nil
	}
	if user, err = r.userNow(ctx, &live); err != nil {
		return ctrl.Result{}, err
	}
	if user != "" {
		logf.FromContext(ctx).V(1).Info("waits to remove leftover VolumeSnapshots", "why", user)
		return ctrl.Result{RequeueAfter: inUseInterval}, nil
	}
	var names []string
	for i := range leftovers {
		if err := r.remove(ctx, &leftovers[i], snapshotv1.VolumeSnapshotContentDelete); err != nil {
			return ctrl.Result{}, err
		}
		names = append(names, leftovers[i].Name)
	}
	r.Metrics.addRemoved(len(names))
	r.Event(s, corev1.EventTypeNormal, v1alpha1.ReasonLeftoversRemoved,
		"removed VolumeSnapshots that never became a backup: "+strings.Join(names, ", "))
	return ctrl.Result{}, nil
}

// sweep triggers a reconcile of the Snapshots that have leftover VolumeSnapshots. It keeps a VolumeSnapshot without
// Snapshot, and counts it: it can be the last copy of somebody who deleted the Snapshot with deletionPolicy Delete. It
// also checks whether the VolumeSnapshots of all Snapshots still exist.
func (r *Reconciler) sweep(ctx context.Context) error {
	byNamespace := map[string][]*snapshotv1.VolumeSnapshot{}
	found := map[types.UID]*pair{}
	err := r.each(ctx, func(v *snapshotv1.VolumeSnapshot) {
		found[v.UID] = &pair{snapshot: v}
		if v.Annotations[v1alpha1.AnnotationSnapshotUID] != "" {
			byNamespace[v.Namespace] = append(byNamespace[v.Namespace], v)
		}
	}, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
		client.HasLabels{v1alpha1.LabelSnapshot})
	if notSupported(err) {
		return nil
	} else if err != nil {
		return err
	}
	alone := 0
	for namespace, all := range byNamespace {
		var list v1alpha1.SnapshotList
		if err := r.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("list Snapshots of Namespace %s: %w", namespace, err)
		}
		known := make(map[types.UID]*v1alpha1.Snapshot, len(list.Items))
		for i := range list.Items {
			known[list.Items[i].UID] = &list.Items[i]
		}
		for _, v := range all {
			s := known[types.UID(v.Annotations[v1alpha1.AnnotationSnapshotUID])]
			if s == nil {
				alone++
			} else if neverBackup(s, v) {
				r.call(ctx, s)
			}
		}
	}
	r.Metrics.setAlone(alone)
	if err := r.pairUp(ctx, found); err != nil {
		return err
	}
	return r.check(ctx, found)
}

// call triggers a reconcile of a Snapshot.
func (r *Reconciler) call(ctx context.Context, s *v1alpha1.Snapshot) {
	select {
	case r.called <- event.GenericEvent{Object: s}:
	case <-ctx.Done():
	}
}
