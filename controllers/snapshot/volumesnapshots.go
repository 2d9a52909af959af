package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run"
)

const (
	// inUseInterval is the delay before a Snapshot is checked again whose VolumeSnapshots can't go yet.
	inUseInterval = 15 * time.Second
	// soon and seldom limit how often VolumeSnapshots that are being deleted are checked.
	soon, seldom = time.Second, time.Minute
	// stuckAfter is the default of StuckAfter.
	stuckAfter = time.Minute
)

// howToGiveUp ends the message of a removal that does not finish.
const howToGiveUp = ". Cairn tries again; to release the object and leave its data, annotate it with " +
	v1alpha1.AnnotationGiveUp + "=true"

// removedLater begins the message of a wait for whoever uses the data.
const removedLater = "the data is removed later: "

// mark makes a Snapshot that is being deleted take its VolumeSnapshots along, if its Repository is being wiped. With
// foreground deletion the garbage collector deletes the Snapshots before the Repository's own finalizer has marked
// them, or while that waits.
func (r *Reconciler) mark(ctx context.Context, s *v1alpha1.Snapshot) error {
	if s.Spec.DeletionPolicy == v1alpha1.WipeOut || v1alpha1.HasRecordAnnotation(s.Annotations) {
		return nil
	}
	var repository v1alpha1.Repository
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Repository}
	err := read.FallbackReader{Reader: r.Client, Live: r.APIReader}.Get(ctx, key, &repository)
	if err == nil && policy.HoldsVolumeSnapshots(&repository) {
		err = r.APIReader.Get(ctx, key, &repository) // The cache can lack that it is being deleted.
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("get Repository %s: %w", key, err)
	case !policy.HoldsVolumeSnapshots(&repository), repository.DeletionTimestamp.IsZero(),
		repository.Spec.DeletionPolicy != v1alpha1.WipeOut,
		retention.IsGivenUp(&repository):
		return nil
	}
	before := s.DeepCopy()
	retention.MarkRepositoryWiped(s)
	if err := r.writer().Status(ctx, before, s); err != nil {
		return err
	}
	before = s.DeepCopy()
	s.Spec.DeletionPolicy = v1alpha1.WipeOut
	if err := r.writer().Object(ctx, before, s); err != nil {
		return err
	}
	return nil
}

// wipe removes the VolumeSnapshots of a Snapshot that is being deleted, and then releases it. It remembers nothing:
// each reconcile looks for what still exists.
func (r *Reconciler) wipe(ctx context.Context, s *v1alpha1.Snapshot) (ctrl.Result, error) {
	user, err := r.user(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if user != "" {
		return ctrl.Result{RequeueAfter: inUseInterval},
			r.markWaiting(ctx, s, v1alpha1.ReasonInUse, removedLater+user, false)
	}
	found, err := r.find(ctx, s)
	if notSupported(err) {
		if !slices.ContainsFunc(components(s), func(c v1alpha1.Component) bool { return c.ID != "" }) {
			return ctrl.Result{}, r.wiped(ctx, s, found, nil) // No VolumeSnapshot was ever made.
		}
		message := "the cluster has no kind VolumeSnapshot any more: install it and its snapshot controller again" +
			howToGiveUp
		return ctrl.Result{RequeueAfter: seldom},
			r.markWaiting(ctx, s, v1alpha1.ReasonVolumeSnapshotsNotSupported, message, true)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	waiting, err := r.waiting(ctx, s.Namespace, found.ours)
	if err == nil && waiting == "" {
		waiting, err = r.borrowed(ctx, found.ours)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if waiting != "" {
		return ctrl.Result{RequeueAfter: seldom}, r.markWaiting(ctx, s, v1alpha1.ReasonInUse,
			removedLater+waiting, false)
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
		return ctrl.Result{RequeueAfter: seldom}, r.markWaiting(ctx, s, v1alpha1.ReasonInUse,
			removedLater+waiting, false)
	}
	if len(left.going) > 0 {
		return r.removeContents(ctx, s, left.going)
	}
	return ctrl.Result{}, r.wiped(ctx, s, found, left.kept)
}

// notDeleted writes to the Snapshot that the deletion of a VolumeSnapshot or content failed, and returns the error. A
// conflict is decided again.
func (r *Reconciler) notDeleted(ctx context.Context, s *v1alpha1.Snapshot, reason string, err error) error {
	if apierrors.IsConflict(err) {
		return err
	}
	return cmp.Or(r.markWaiting(ctx, s, reason, err.Error()+howToGiveUp, true), err)
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
	why, err := r.stuck(ctx, &all[oldest])
	if err != nil {
		return ctrl.Result{}, err
	}
	return result, r.markWaiting(ctx, s, v1alpha1.ReasonVolumeSnapshotNotDeleted, why+howToGiveUp, true)
}

// longestTerminating returns the index of the object that has been terminating for the longest time, and that time. An
// object without a deletionTimestamp was deleted just now.
func longestTerminating[T any, O interface {
	*T
	client.Object
}](all []T, now time.Time) (index int, age time.Duration) {
	for i := range all {
		if at := O(&all[i]).GetDeletionTimestamp(); at != nil && now.Sub(at.Time) > age {
			index, age = i, now.Sub(at.Time)
		}
	}
	return index, age
}

// interval returns the time between two looks at an object that has been terminating for age.
func interval(age time.Duration) time.Duration { return min(max(age/4, soon), seldom) }

// stuck returns why a VolumeSnapshot that is being deleted still exists.
func (r *Reconciler) stuck(ctx context.Context, v *snapshotv1.VolumeSnapshot) (string, error) {
	content, err := read.BoundContent(ctx, r.APIReader, v)
	if err != nil {
		return "", err
	}
	if content == nil {
		return fmt.Sprintf("VolumeSnapshot %s keeps terminating: the snapshot controller does not finish, or another "+
			"finalizer holds it", v.Name), nil
	}
	return keepsTerminating("VolumeSnapshot "+v.Name, content), nil
}

// keepsTerminating words why an object still exists that goes with a content, or the content itself.
func keepsTerminating(what string, content *snapshotv1.VolumeSnapshotContent) string {
	if e := content.Status; e != nil && e.Error != nil && e.Error.Message != nil {
		return fmt.Sprintf("%s keeps terminating: the CSI driver %s reports: %s", what, content.Spec.Driver,
			*e.Error.Message)
	}
	return fmt.Sprintf("%s keeps terminating: the snapshot controller or the CSI driver %s does not finish", what,
		content.Spec.Driver)
}

// markWaiting writes to a Snapshot why its data is not gone yet. It does not repeat the same cause for the same object,
// because the words of a driver can change with every try.
func (r *Reconciler) markWaiting(ctx context.Context, s *v1alpha1.Snapshot, reason, message string, tell bool) error {
	before := s.DeepCopy()
	if conditions.GetReason(s, v1alpha1.ConditionWiped) != reason ||
		causeOf(conditions.GetMessage(s, v1alpha1.ConditionWiped)) != causeOf(message) {
		conditions.MarkFalse(s, v1alpha1.ConditionWiped, reason, "%s", message)
	}
	var event *run.Event
	if tell {
		event = &run.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message}
	}
	return client.IgnoreNotFound(r.writer().Announce(ctx, before, s, event))
}

// causeOf returns the part of a message that says what waits, and for what: all that precedes the second ": ". The
// words of a driver or of an API server follow there.
func causeOf(message string) string {
	parts := strings.SplitN(message, ": ", 3)
	return strings.Join(parts[:min(len(parts), 2)], ": ")
}

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
	if len(left) > 0 {
		why = "its VolumeSnapshots are gone, and these VolumeSnapshotContents with their data are not: " +
			strings.Join(left, ", ")
		r.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDataKept, why)
	}
	return r.release(ctx, s, why, v1alpha1.FinalizerWipe)
}

// user returns what works with the Snapshot's VolumeSnapshots, or can still make some. It returns "" if nothing does.
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
