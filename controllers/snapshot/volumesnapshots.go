package snapshot

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// inUseInterval is the delay before a Snapshot is checked again whose VolumeSnapshots can't go yet.
	inUseInterval = 15 * time.Second
	// soon and seldom limit how often VolumeSnapshots that are being deleted are checked.
	soon, seldom = time.Second, time.Minute
	// rarely is the longest delay before a Snapshot is checked again that waits for a keeper.
	rarely = 5 * time.Minute
	// stuckAfter is the default of StuckAfter.
	stuckAfter = time.Minute
)

// wipe removes the VolumeSnapshots of a Snapshot that is being deleted, and then releases it. It remembers nothing:
// each reconcile looks for what still exists.
func (r *Reconciler) wipe(ctx context.Context, s *v1alpha1.Snapshot) (ctrl.Result, error) {
	user, err := r.user(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if user != "" {
		return ctrl.Result{RequeueAfter: inUseInterval}, r.markWaiting(ctx, s, inUse(user))
	}
	found, err := r.find(ctx, s)
	if notSupported(err) {
		if !slices.ContainsFunc(components(s), func(c v1alpha1.Component) bool { return c.ID != "" }) {
			return ctrl.Result{}, r.wiped(ctx, s, found, nil) // No VolumeSnapshot was ever made.
		}
		return ctrl.Result{RequeueAfter: seldom}, r.markWaiting(ctx, s, wait{
			reason: v1alpha1.ReasonVolumeSnapshotsNotSupported, warns: true,
			cause: "the cluster has no kind VolumeSnapshot any more: install it and its snapshot controller again",
		})
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	waiting, err := r.held(ctx, s, found.ours)
	if err != nil {
		return ctrl.Result{}, err
	}
	if waiting != "" {
		return ctrl.Result{RequeueAfter: seldom}, r.markWaiting(ctx, s, inUse(waiting))
	}
	if slices.ContainsFunc(found.ours, stays) {
		if err := r.begin(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
	}
	for i := range found.ours {
		if err := r.remove(ctx, &found.ours[i], policyOf(s, &found.ours[i])); err != nil {
			return ctrl.Result{}, r.notDeleted(ctx, s, v1alpha1.ReasonVolumeSnapshotNotDeleted, err)
		}
	}
	if len(found.ours) > 0 {
		return r.going(ctx, s, found.ours)
	}
	left, err := r.contentsLeft(ctx, s, found)
	if err == nil {
		waiting, err = r.lentContent(ctx, left.going)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if waiting != "" {
		return ctrl.Result{RequeueAfter: seldom}, r.markWaiting(ctx, s, inUse(waiting))
	}
	if len(left.going) > 0 {
		return r.removeContents(ctx, s, left.going)
	}
	return ctrl.Result{}, r.wiped(ctx, s, found, left.kept)
}

// begin notes that a part of the data can be gone from now on.
func (r *Reconciler) begin(ctx context.Context, s *v1alpha1.Snapshot) error {
	before := s.DeepCopy()
	if !retention.MarkRemovalBegan(s) {
		return nil
	}
	return r.writer().Status(ctx, before, s)
}

// going returns when to look again at VolumeSnapshots that are being deleted, and reports what blocks the oldest.
func (r *Reconciler) going(
	ctx context.Context, s *v1alpha1.Snapshot, all []snapshotv1.VolumeSnapshot,
) (ctrl.Result, error) {
	oldest, age := longestTerminating(all, r.Clock.Now())
	result := ctrl.Result{RequeueAfter: interval(age)}
	if age < cmp.Or(r.StuckAfter, stuckAfter) {
		logf.FromContext(ctx).V(1).Info("waits for its VolumeSnapshots to go", "volumeSnapshots", len(all))
		return result, nil
	}
	w, err := r.stuck(ctx, &all[oldest])
	if err != nil {
		return ctrl.Result{}, err
	}
	return result, r.markWaiting(ctx, s, w)
}

// longestTerminating returns the index of the object that has been terminating for the longest time, and that time. An
// object without a deletionTimestamp was deleted just now. One whose deletion was dated by a clock that was ahead is
// old.
func longestTerminating[T any, O interface {
	*T
	client.Object
}](all []T, now time.Time) (index int, age time.Duration) {
	for i := range all {
		at := O(&all[i]).GetDeletionTimestamp()
		if at == nil {
			continue
		}
		since := now.Sub(at.Time)
		if observe.FarAhead(at.Time, now) {
			since = -since
		}
		if since > age {
			index, age = i, since
		}
	}
	return index, age
}

// interval returns the time between two looks at an object that has been terminating for age.
func interval(age time.Duration) time.Duration { return min(max(age/4, soon), seldom) }

// wiped writes why the Snapshot's data is gone, unless a reason is set, reports what stays, and removes FinalizerWipe.
// left are the names of contents that nobody removes. FinalizerRecord holds the Snapshot until it is recorded.
func (r *Reconciler) wiped(
	ctx context.Context, s *v1alpha1.Snapshot, found volumeSnapshots, left []string,
) error {
	before := s.DeepCopy()
	if retention.MarkDeleted(s) {
		if err := r.writer().Status(ctx, before, s); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	if len(found.foreign) > 0 {
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept,
			"left alone VolumeSnapshots that this backup did not make: "+strings.Join(found.foreign, ", "))
	}
	var kept []string
	for _, stats := range statsOf(s) {
		if snapshotv1.DeletionPolicy(stats.ContentDeletionPolicy) == snapshotv1.VolumeSnapshotContentRetain {
			kept = append(kept, stats.VolumeSnapshotContentName)
		}
	}
	if len(kept) > 0 {
		r.Event(s, corev1.EventTypeNormal, v1alpha1.ReasonDataKept,
			"the data stays in the storage system, as contentDeletionPolicy says: VolumeSnapshotContents "+
				strings.Join(kept, ", "))
	}
	why := "its VolumeSnapshots are gone"
	if len(kept) > 0 {
		why += ", and their data stays as contentDeletionPolicy says"
	}
	if len(found.foreign) > 0 { // a Snapshot that came back from a backup of the cluster has another UID
		why += ", except for those that this object did not make: " + text.Shorten(strings.Join(found.foreign, ", "))
	}
	if len(left) > 0 {
		why = "its VolumeSnapshots are gone, and these VolumeSnapshotContents with their data are not: " +
			strings.Join(left, ", ")
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, why)
	}
	if err := r.markWiped(ctx, s, len(kept)+len(left)+len(found.foreign) == 0, why); err != nil {
		return err
	}
	return r.release(ctx, s, why, v1alpha1.FinalizerWipe)
}

// held explains, past the cache, what still needs one of the VolumeSnapshots, or returns "". Those that are being
// deleted are lost for it.
func (r *Reconciler) held(ctx context.Context, s *v1alpha1.Snapshot, ours []snapshotv1.VolumeSnapshot) (string, error) {
	if !slices.ContainsFunc(ours, stays) {
		return "", nil
	}
	if user, err := r.userNow(ctx, s); user != "" || err != nil {
		return user, err
	}
	if waiting, err := r.waiting(ctx, s.Namespace, ours); waiting != "" || err != nil {
		return waiting, err
	}
	return r.borrowed(ctx, ours)
}

// stays reports whether a VolumeSnapshot is not being deleted.
func stays(v snapshotv1.VolumeSnapshot) bool { return v.DeletionTimestamp == nil }

// userNow returns which restore or backup works with the Snapshot, past the cache: that of a manager that was paused
// lacks the restores that began since. A restore that begins later finds the Snapshot being deleted.
func (r *Reconciler) userNow(ctx context.Context, s *v1alpha1.Snapshot) (string, error) {
	used, err := r.answers.get(r.answers.arrive(), func() (index.InUse, error) {
		return index.InUseNow(ctx, r.Client, r.APIReader)
	})
	if err != nil {
		return "", err
	}
	return used.User(ctx, r.APIReader, s)
}

// user returns what works with the Snapshot's VolumeSnapshots, or can still make some, as the cache knows it. It
// returns "" if nothing does.
func (r *Reconciler) user(ctx context.Context, s *v1alpha1.Snapshot) (string, error) {
	used, err := restores.InUse(ctx, r.Client)
	if err != nil {
		return "", err
	}
	if user, err := used.User(ctx, r.Client, s); user != "" || err != nil {
		return user, err
	}
	return r.jobOf(ctx, s)
}
