package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// volumeSnapshots are the VolumeSnapshots that a Snapshot knows, as the API server has them now.
type volumeSnapshots struct {
	// ours were made by the Snapshot's Jobs: their labels and the Snapshot agree on that.
	ours []snapshotv1.VolumeSnapshot
	// foreign are the names of others that look like one of ours.
	foreign []string
	// exists has the UIDs of all of these.
	exists map[types.UID]bool
}

// errNotSupported means that the cluster has no kind VolumeSnapshot.
var errNotSupported = errors.New("the cluster has no kind VolumeSnapshot")

func notSupported(err error) bool { return errors.Is(err, errNotSupported) }

// components returns the components of a Snapshot in the order of their names.
func components(s *v1alpha1.Snapshot) []v1alpha1.Component {
	var out []v1alpha1.Component
	for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
		out = append(out, s.Status.Components[name])
	}
	return out
}

// statsOf returns the VolumeSnapshots that the components of a Snapshot have reported.
func statsOf(s *v1alpha1.Snapshot) []v1alpha1.VolumeSnapshotterStats {
	var out []v1alpha1.VolumeSnapshotterStats
	for _, c := range components(s) {
		out = append(out, c.VolumeSnapshotterStats...)
	}
	return out
}

// reported returns the UIDs of the VolumeSnapshots that the components have reported, by name.
func reported(s *v1alpha1.Snapshot) map[string]types.UID {
	out := map[string]types.UID{}
	for _, c := range components(s) {
		for _, stats := range c.VolumeSnapshotterStats {
			out[stats.VolumeSnapshotName] = types.UID(c.ID)
		}
	}
	return out
}

// policyOf returns what happens to the snapshot in the storage system when Cairn removes the VolumeSnapshot. A
// VolumeSnapshot that was never reported was never a backup, and its data goes.
func policyOf(s *v1alpha1.Snapshot, v *snapshotv1.VolumeSnapshot) snapshotv1.DeletionPolicy {
	for _, stats := range statsOf(s) {
		if stats.VolumeSnapshotName == v.Name &&
			snapshotv1.DeletionPolicy(stats.ContentDeletionPolicy) == snapshotv1.VolumeSnapshotContentRetain {
			return snapshotv1.VolumeSnapshotContentRetain
		}
	}
	return snapshotv1.VolumeSnapshotContentDelete
}

// find reads, past every cache, the VolumeSnapshots with the Snapshot's label, and those that its components have
// reported.
func (r *Reconciler) find(ctx context.Context, s *v1alpha1.Snapshot) (volumeSnapshots, error) {
	out := volumeSnapshots{exists: map[types.UID]bool{}}
	uids, label := reported(s), policy.LabelValue(s.Name)
	seen := map[string]bool{}
	judge := func(v *snapshotv1.VolumeSnapshot) {
		uid, known := uids[v.Name]
		out.exists[v.UID] = true
		if seen[v.Name] = true; volumesnapshot.MadeBySnapshotJob(v, label, s.UID) && (!known || v.UID == uid) {
			out.ours = append(out.ours, *v)
		} else {
			out.foreign = append(out.foreign, v.Name)
		}
	}
	labels := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelSnapshot: label}
	err := r.each(ctx, judge, client.InNamespace(s.Namespace), labels)
	if err != nil {
		return volumeSnapshots{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(uids)) {
		if seen[name] {
			continue
		}
		var v snapshotv1.VolumeSnapshot
		err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &v)
		if client.IgnoreNotFound(err) != nil {
			return volumeSnapshots{}, fmt.Errorf("get VolumeSnapshot %s: %w", name, err)
		}
		if err == nil {
			judge(&v)
		}
	}
	return out, nil
}

// each lists VolumeSnapshots, page by page.
func (r *Reconciler) each(ctx context.Context, do func(*snapshotv1.VolumeSnapshot), opts ...client.ListOption) error {
	err := read.Pages(ctx, r.APIReader, func(page *snapshotv1.VolumeSnapshotList) error {
		for i := range page.Items {
			do(&page.Items[i])
		}
		return nil
	}, opts...)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) { // NotFound: the kind was removed while the manager runs
		return errNotSupported
	}
	if err != nil {
		return fmt.Errorf("list VolumeSnapshots: %w", err)
	}
	return nil
}

// waiting names a claim that still waits for its volume from one of the VolumeSnapshots, or returns "". A restore can
// have ended and left the claim to a workload, and no driver makes a volume from a VolumeSnapshot that is being
// deleted.
func (r *Reconciler) waiting(ctx context.Context, namespace string, ours []snapshotv1.VolumeSnapshot) (string, error) {
	if len(ours) == 0 {
		return "", nil
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(namespace)); err != nil {
		return "", fmt.Errorf("list PersistentVolumeClaims of Namespace %s: %w", namespace, err)
	}
	for i := range claims.Items {
		c := &claims.Items[i]
		from := volumesnapshot.SourceOf(c)
		if c.DeletionTimestamp != nil || c.Status.Phase == corev1.ClaimBound || from == "" {
			continue
		}
		if slices.ContainsFunc(ours, func(v snapshotv1.VolumeSnapshot) bool {
			return v.DeletionTimestamp == nil &&
				v.Name == from
		}) {
			return "PersistentVolumeClaim " + c.Name + " still waits for its volume from it", nil
		}
	}
	return "", nil
}

// borrowed explains which namespace has borrowed one of the VolumeSnapshots for a restore, or returns "". A restore
// that has ended can have left its claims to their first pods: what it borrowed exists as long as one claim waits.
func (r *Reconciler) borrowed(ctx context.Context, ours []snapshotv1.VolumeSnapshot) (string, error) {
	has := map[storedSnapshot]string{}
	for i := range ours {
		content, err := read.BoundContent(ctx, r.APIReader, &ours[i])
		if err != nil {
			return "", err
		}
		if content != nil && ours[i].DeletionTimestamp == nil && volumesnapshot.Handle(content) != "" {
			has[storedSnapshot{content.Spec.Driver, volumesnapshot.Handle(content)}] = "VolumeSnapshot " + ours[i].Name
		}
	}
	return r.lent(ctx, has)
}

// lentContent is like borrowed, for contents that are about to be deleted.
func (r *Reconciler) lentContent(ctx context.Context, all []snapshotv1.VolumeSnapshotContent) (string, error) {
	has := map[storedSnapshot]string{}
	for i := range all {
		if c := &all[i]; c.DeletionTimestamp == nil && volumesnapshot.Handle(c) != "" {
			has[storedSnapshot{c.Spec.Driver, volumesnapshot.Handle(c)}] = "VolumeSnapshotContent " + c.Name
		}
	}
	return r.lent(ctx, has)
}

// storedSnapshot is a snapshot in a storage system.
type storedSnapshot struct{ driver, handle string }

// lent explains which namespace has borrowed one of the snapshots, whose objects has names, or returns "".
func (r *Reconciler) lent(ctx context.Context, has map[storedSnapshot]string) (string, error) {
	if len(has) == 0 {
		return "", nil
	}
	contents, err := read.ImportedContents(ctx, r.APIReader)
	if err != nil {
		return "", err
	}
	for i := range contents {
		c := &contents[i]
		name := has[storedSnapshot{c.Spec.Driver, volumesnapshot.Handle(c)}]
		if name != "" && c.DeletionTimestamp == nil {
			return fmt.Sprintf("%s is lent to a restore in namespace %s, whose claims do not all have "+
				"their volumes", name, c.Spec.VolumeSnapshotRef.Namespace), nil
		}
	}
	return "", nil
}

// jobOf names a Job that works with the Snapshot and has not ended, or returns "".
func (r *Reconciler) jobOf(ctx context.Context, s *v1alpha1.Snapshot) (string, error) {
	var jobs batchv1.JobList
	if err := r.List(ctx, &jobs, client.InNamespace(s.Namespace),
		client.MatchingLabels{v1alpha1.LabelSnapshot: policy.LabelValue(s.Name)}); err != nil {
		return "", fmt.Errorf("list Jobs of Snapshot %s: %w", s.Name, err)
	}
	first := "" // by name, so that each look names the same Job: the lists of a cache have no order
	for i := range jobs.Items {
		if name := jobs.Items[i].Name; !observe.Ended(&jobs.Items[i]) && (first == "" || name < first) {
			first = name
		}
	}
	if first == "" {
		return "", nil
	}
	return "Job " + first + " has not ended", nil
}
