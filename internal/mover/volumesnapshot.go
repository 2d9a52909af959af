package mover

import (
	"context"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// reportRunningAfter is the time after which unfinished VolumeSnapshots are reported as running. Most are ready before
// that.
const reportRunningAfter = 5 * time.Second

// volumeSnapshots makes the VolumeSnapshots of all components concurrently, so that they show the same moment as far
// as the storage system allows. It waits until each is ready or has failed. A VolumeSnapshot that an earlier mover
// made is accepted. Nothing is deleted.
func (m *Mover) volumeSnapshots(ctx context.Context, t task.Task, flags Flags) task.Result {
	w := &snapshotting{
		objectMaker: m.objectMaker(t, snapshotv1.SchemeGroupVersion.WithResource(volumesnapshot.Resource)),
		label:       policy.LabelValue(t.Snapshot.Name), since: map[string]time.Time{},
	}
	w.makeAll(func(c task.Component) (types.UID, *failure.Failure) { return w.make(ctx, c) },
		func(c task.Component, f *failure.Failure) { w.end(ctx, c, task.ComponentResult{}, f) })
	w.wait(ctx, flags.WaitTimeout, func(late bool) { w.look(ctx, late) }, func(f *failure.Failure) { w.rest(ctx, f) })
	return summary(w.results(), "snapshotted")
}

// snapshotting is the work of a mover that makes VolumeSnapshots.
type snapshotting struct {
	objectMaker
	// label is the value of v1alpha1.LabelSnapshot.
	label string
	// since is when the driver began to report an error, by component.
	since map[string]time.Time
	// reported is set once the unfinished VolumeSnapshots were reported as running.
	reported bool
}

// make creates the VolumeSnapshot of a component, or finds the one that an earlier mover made.
func (w *snapshotting) make(ctx context.Context, c task.Component) (types.UID, *failure.Failure) {
	for _, name := range c.Snapshot.Names {
		created, err := w.shoot(ctx, c, name)
		if err == nil {
			return created, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return "", classifySnapshot(ctx, err)
		}
		found, err := w.client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) { // somebody has just deleted it
			if created, err = w.shoot(ctx, c, name); err == nil {
				return created, nil
			}
		}
		if err != nil {
			return "", classifySnapshot(ctx, err)
		}
		s, err := typed[snapshotv1.VolumeSnapshot](found)
		if err != nil {
			return "", failure.New(v1alpha1.ReasonVolumeSnapshotFailed, err.Error())
		}
		if volumesnapshot.MadeBySnapshotJob(s, w.label, w.t.Snapshot.UID) &&
			s.Spec.Source.PersistentVolumeClaimName != nil &&
			*s.Spec.Source.PersistentVolumeClaimName == c.Snapshot.Claim {
			w.m.Log.Info("an earlier mover has created it", "component", c.Name)
			return s.UID, nil
		}
	}
	return "", failure.New(v1alpha1.ReasonNameConflict,
		fmt.Sprintf("VolumeSnapshots %s exist already and belong to something else: delete them",
			strings.Join(c.Snapshot.Names, " and ")))
}

// shoot creates a VolumeSnapshot with this name.
func (w *snapshotting) shoot(ctx context.Context, c task.Component, name string) (types.UID, error) {
	marks := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	for key, value := range w.t.Snapshot.Labels {
		marks[key] = value
	}
	marks[v1alpha1.LabelSnapshot] = w.label
	return w.create(ctx, volumesnapshot.New(w.t.Namespace, name, c.Snapshot.Claim, c.Snapshot.Class, marks,
		map[string]string{
			v1alpha1.AnnotationSnapshotUID: string(w.t.Snapshot.UID), v1alpha1.AnnotationJob: w.m.Job,
		}))
}

// look ends the components whose VolumeSnapshots have reached a final state, and reports once that the others are
// running.
func (w *snapshotting) look(ctx context.Context, late bool) {
	found, trouble := w.list(ctx)
	if trouble == nil {
		w.judge(ctx, found, late)
	} else if late {
		w.rest(ctx, failure.New(v1alpha1.ReasonVolumeSnapshotNotReady, "list VolumeSnapshots: "+trouble.Error()))
	}
	if !w.reported && w.m.Now().Sub(w.began) > reportRunningAfter {
		w.reported = true
		w.reportRunning(ctx)
	}
}

// reportRunning reports the pending components as running.
func (w *snapshotting) reportRunning(ctx context.Context) {
	for _, c := range w.pending() {
		w.m.report(ctx, w.t, c.Name, v1alpha1.Component{
			Phase:  v1alpha1.SnapshotRunning,
			Driver: v1alpha1.DriverVolumeSnapshotter, StartTime: report.TimeOf(w.began),
		})
	}
}

// list reads the VolumeSnapshots of the Snapshot, by UID.
func (w *snapshotting) list(ctx context.Context) (map[types.UID]*snapshotv1.VolumeSnapshot, error) {
	list, err := w.client.List(ctx,
		metav1.ListOptions{LabelSelector: labels.Set{v1alpha1.LabelSnapshot: w.label}.String()})
	if err != nil {
		return nil, err
	}
	out := map[types.UID]*snapshotv1.VolumeSnapshot{}
	for i := range list.Items {
		s, err := typed[snapshotv1.VolumeSnapshot](&list.Items[i])
		if err != nil {
			return nil, err
		}
		out[s.UID] = s
	}
	return out, nil
}

// judge ends the components whose VolumeSnapshots have reached a final state, or all when it is late.
func (w *snapshotting) judge(ctx context.Context, found map[types.UID]*snapshotv1.VolumeSnapshot, late bool) {
	for _, c := range w.pending() {
		s := found[w.made[c.Name]]
		r := task.ComponentResult{ID: string(w.made[c.Name])}
		message := failureOf(s)
		lasts := w.failing(c.Name, message)
		switch {
		case s == nil || s.DeletionTimestamp != nil:
			w.end(
				ctx, c, r, failure.New(v1alpha1.ReasonVolumeSnapshotNotFound,
					"the VolumeSnapshot was deleted before it was ready"))
		case volumesnapshot.Ready(s):
			if size := s.Status.RestoreSize; size != nil {
				r.SizeBytes = size.Value()
			}
			w.end(ctx, c, r, nil)
		case message != "" && (late || lasts):
			w.end(
				ctx, c, r, failure.New(v1alpha1.ReasonVolumeSnapshotFailed,
					fmt.Sprintf("VolumeSnapshot %s: %s", s.Name, message)))
		case late:
			w.end(ctx, c, r, failure.New(v1alpha1.ReasonVolumeSnapshotNotReady, fmt.Sprintf(
				"VolumeSnapshot %s is not ready to use after %s: check the snapshot controller and the CSI driver, "+
					"or raise the "+
					"parameter waitTimeout", s.Name, w.m.Now().Sub(w.began).Round(time.Second))))
		}
	}
}

func failureOf(s *snapshotv1.VolumeSnapshot) string {
	if s == nil {
		return ""
	}
	message, _ := volumesnapshot.Failure(s)
	return message
}

// failing reports whether the CSI driver has reported an error for so long that it will not pass.
func (w *snapshotting) failing(component, message string) bool {
	if message == "" {
		delete(w.since, component)
		return false
	}
	if _, before := w.since[component]; !before {
		w.since[component] = w.m.Now()
	}
	return w.m.Now().Sub(w.since[component]) >= volumesnapshot.ErrorGrace
}

// rest ends all pending components.
func (w *snapshotting) rest(ctx context.Context, f *failure.Failure) {
	for _, c := range w.pending() {
		w.end(ctx, c, task.ComponentResult{ID: string(w.made[c.Name])}, f)
	}
}

// end completes a component and reports it, unless the mover was told to stop: another mover continues the work then.
func (w *snapshotting) end(ctx context.Context, c task.Component, r task.ComponentResult, f *failure.Failure) {
	r.Name = c.Name
	r = ended(r, f, w.began, w.m.Now())
	w.done[c.Name] = r
	if r.Reason != v1alpha1.ReasonCancelled {
		w.m.report(ctx, w.t, c.Name, r.Component(v1alpha1.DriverVolumeSnapshotter))
	}
}

// classifySnapshot returns why the API server refused a VolumeSnapshot.
func classifySnapshot(ctx context.Context, err error) *failure.Failure {
	switch {
	case ctx.Err() != nil:
		return interruptedFailure()
	case apierrors.IsNotFound(err):
		return failure.New(v1alpha1.ReasonVolumeSnapshotsNotSupported,
			"the cluster has no kind VolumeSnapshot: install the snapshot controller of the CSI project and its CRDs")
	default:
		return failure.New(v1alpha1.ReasonVolumeSnapshotFailed, fmt.Sprintf("create VolumeSnapshot: %v", err))
	}
}
