package mover

import (
	"context"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// How often VolumeSnapshots that are awaited are looked at: often as long as most CSI drivers take, and then seldom.
const (
	lookFast    = 500 * time.Millisecond
	lookSlow    = 3 * time.Second
	lookFastFor = 30 * time.Second
	// sayRunning is when it is told that they are under way: most are ready before that.
	sayRunning = 5 * time.Second
	// atOnce is how many are asked for at once.
	atOnce = 16
)

// volumeSnapshots makes the VolumeSnapshots of all components, one right after the other, and waits until each can be used or has
// failed. One that a mover before it made is taken as it is. Nothing is deleted here.
func (m *Mover) volumeSnapshots(ctx context.Context, t task.Task, flags Flags) task.Result {
	w := &snapshotting{
		m: m, t: t, client: m.Client.Resource(snapshotv1.SchemeGroupVersion.WithResource(volumesnapshot.Resource)).Namespace(t.Namespace),
		label: policy.LabelValue(t.Snapshot.Name), began: m.Now(), done: map[string]task.ComponentResult{}, made: map[string]types.UID{}, since: map[string]time.Time{},
	}
	w.makeAll(ctx)
	w.wait(ctx, flags.WaitTimeout)
	var results []task.ComponentResult
	for _, c := range t.Components {
		results = append(results, w.done[c.Name])
	}
	return summary(results, "snapshotted")
}

// snapshotting is one run of a mover that makes VolumeSnapshots.
type snapshotting struct {
	m      *Mover
	t      task.Task
	client dynamic.ResourceInterface
	// label is the value of v1alpha1.LabelSnapshot.
	label string
	began time.Time
	// made are the UIDs of the VolumeSnapshots by component, and done how components ended.
	made map[string]types.UID
	done map[string]task.ComponentResult
	// since is when the driver began to report an error, by component.
	since map[string]time.Time
}

// makeAll asks for all VolumeSnapshots at once, so that they are of the same moment as far as the storage system allows.
func (w *snapshotting) makeAll(ctx context.Context) {
	type outcome struct {
		uid types.UID
		f   *failure
	}
	outcomes := make([]outcome, len(w.t.Components))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, c := range w.t.Components {
		group.Go(func() error {
			outcomes[i].uid, outcomes[i].f = w.make(ctx, c)
			return nil
		})
	}
	_ = group.Wait() // how each went is in outcomes
	for i, c := range w.t.Components {
		if f := outcomes[i].f; f != nil {
			w.end(ctx, c, task.ComponentResult{}, f)
			continue
		}
		w.made[c.Name] = outcomes[i].uid
	}
}

// make makes the VolumeSnapshot of a component, or finds the one that was made.
func (w *snapshotting) make(ctx context.Context, c task.Component) (types.UID, *failure) {
	for _, name := range c.Snapshot.Names {
		created, err := w.create(ctx, c, name)
		if err == nil {
			return created, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return "", classifySnapshot(ctx, err)
		}
		found, err := w.client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) { // somebody deleted it in this moment
			if created, err = w.create(ctx, c, name); err == nil {
				return created, nil
			}
		}
		if err != nil {
			return "", classifySnapshot(ctx, err)
		}
		s, err := snapshotFrom(found)
		if err != nil {
			return "", &failure{v1alpha1.ReasonVolumeSnapshotFailed, err.Error()}
		}
		if volumesnapshot.Belongs(s, w.label, w.t.Snapshot.UID) && s.Spec.Source.PersistentVolumeClaimName != nil && *s.Spec.Source.PersistentVolumeClaimName == c.Snapshot.Claim {
			w.m.Log.Info("an earlier mover has made it", "component", c.Name)
			return s.UID, nil
		}
	}
	return "", &failure{v1alpha1.ReasonNameConflict, fmt.Sprintf("VolumeSnapshots of the names %s exist already, and belong to something else: delete or rename them",
		strings.Join(c.Snapshot.Names, " and "))}
}

// create asks the API server for a VolumeSnapshot of a name.
func (w *snapshotting) create(ctx context.Context, c task.Component, name string) (types.UID, error) {
	marks := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	for key, value := range w.t.Snapshot.Labels {
		marks[key] = value
	}
	marks[v1alpha1.LabelSnapshot] = w.label
	object := volumesnapshot.New(w.t.Namespace, name, c.Snapshot.Claim, c.Snapshot.Class, marks, map[string]string{
		v1alpha1.AnnotationSnapshotUID: string(w.t.Snapshot.UID), v1alpha1.AnnotationJob: w.m.Job,
	})
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return "", fmt.Errorf("encode VolumeSnapshot: %w", err)
	}
	var uid types.UID
	// One that was made although the answer was lost is found by its name.
	err = retry.OnError(again, func(err error) bool { return ctx.Err() == nil && passing(err) }, func() error {
		created, err := w.client.Create(ctx, &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{FieldManager: FieldManager})
		if err == nil {
			uid = created.GetUID()
		}
		return err
	})
	return uid, err
}

// again is how often what the API server could not do is asked for: for about a minute.
var again = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 7}

// passing says whether the API server may take the same object in a moment: also one that it forbade, for a RoleBinding is in
// force a moment after it was made, and a quota may become free.
func passing(err error) bool {
	return apierrors.IsForbidden(err) || transient(err) && !apierrors.IsNotFound(err)
}

// wait looks at the VolumeSnapshots until each is ready, has failed or is late, or the mover is told to stop.
func (w *snapshotting) wait(ctx context.Context, timeout time.Duration) {
	deadline, said := w.m.Now().Add(timeout), false
	for {
		late := !w.m.Now().Before(deadline)
		found, trouble := w.look(ctx)
		if trouble == nil {
			w.judge(ctx, found, late)
		} else if late {
			w.rest(ctx, &failure{v1alpha1.ReasonVolumeSnapshotNotReady, "the API server could not be asked for VolumeSnapshots: " + trouble.Error()})
		}
		if len(w.done) == len(w.t.Components) {
			return
		}
		if !said && w.m.Now().Sub(w.began) > sayRunning {
			said = true
			w.sayRunning(ctx)
		}
		pause := lookFast
		if w.m.Now().Sub(w.began) > lookFastFor {
			pause = lookSlow
		}
		select {
		case <-ctx.Done():
			w.rest(ctx, &failure{v1alpha1.ReasonCancelled, "the mover was told to stop"})
			return
		case <-time.After(pause):
		}
	}
}

// sayRunning tells that what has not ended is under way.
func (w *snapshotting) sayRunning(ctx context.Context) {
	for _, c := range w.t.Components {
		if _, ended := w.done[c.Name]; !ended {
			w.m.report(ctx, w.t, c.Name, v1alpha1.Component{Phase: v1alpha1.SnapshotRunning, Driver: v1alpha1.DriverVolumeSnapshotter, StartTime: timeOf(w.began)})
		}
	}
}

// look reads the VolumeSnapshots of the Snapshot, by UID.
func (w *snapshotting) look(ctx context.Context) (map[types.UID]*snapshotv1.VolumeSnapshot, error) {
	list, err := w.client.List(ctx, metav1.ListOptions{LabelSelector: labels.Set{v1alpha1.LabelSnapshot: w.label}.String()})
	if err != nil {
		return nil, err
	}
	out := map[types.UID]*snapshotv1.VolumeSnapshot{}
	for i := range list.Items {
		s, err := snapshotFrom(&list.Items[i])
		if err != nil {
			return nil, err
		}
		out[s.UID] = s
	}
	return out, nil
}

// judge ends the components whose VolumeSnapshots say enough.
func (w *snapshotting) judge(ctx context.Context, found map[types.UID]*snapshotv1.VolumeSnapshot, late bool) {
	for _, c := range w.t.Components {
		if _, ended := w.done[c.Name]; ended {
			continue
		}
		s := found[w.made[c.Name]]
		r := task.ComponentResult{ID: string(w.made[c.Name])}
		message := failureOf(s)
		lasts := w.failing(c.Name, message)
		switch {
		case s == nil || s.DeletionTimestamp != nil:
			w.end(ctx, c, r, &failure{v1alpha1.ReasonVolumeSnapshotNotFound, "the VolumeSnapshot was deleted while it was made"})
		case volumesnapshot.Ready(s):
			if size := s.Status.RestoreSize; size != nil {
				r.SizeBytes = size.Value()
			}
			w.end(ctx, c, r, nil)
		case message != "" && (late || lasts):
			w.end(ctx, c, r, &failure{v1alpha1.ReasonVolumeSnapshotFailed, fmt.Sprintf("VolumeSnapshot %s: %s", s.Name, message)})
		case late:
			w.end(ctx, c, r, &failure{v1alpha1.ReasonVolumeSnapshotNotReady, fmt.Sprintf(
				"VolumeSnapshot %s is not ready to use after %s: look at the snapshot controller and the CSI driver, or raise the parameter waitTimeout", s.Name, w.m.Now().Sub(w.began).Round(time.Second))})
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

// failing says whether the CSI driver reports an error for longer than one may still go away.
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

// rest ends what has not ended.
func (w *snapshotting) rest(ctx context.Context, f *failure) {
	for _, c := range w.t.Components {
		if _, ended := w.done[c.Name]; !ended {
			w.end(ctx, c, task.ComponentResult{ID: string(w.made[c.Name])}, f)
		}
	}
}

// end completes a component and reports it, unless the mover was told to stop: another one goes on with it.
func (w *snapshotting) end(ctx context.Context, c task.Component, r task.ComponentResult, f *failure) {
	r.Name = c.Name
	r = ended(r, f, w.began, w.m.Now())
	w.done[c.Name] = r
	if r.Reason != v1alpha1.ReasonCancelled {
		w.m.report(ctx, w.t, c.Name, r.Component(v1alpha1.DriverVolumeSnapshotter))
	}
}

// classifySnapshot says why the API server did not take a VolumeSnapshot.
func classifySnapshot(ctx context.Context, err error) *failure {
	switch {
	case ctx.Err() != nil:
		return &failure{v1alpha1.ReasonCancelled, "the mover was told to stop"}
	case apierrors.IsNotFound(err):
		return &failure{v1alpha1.ReasonVolumeSnapshotsNotSupported, "the cluster has no kind VolumeSnapshot: install the snapshot controller of the CSI project and its CRDs"}
	default:
		return &failure{v1alpha1.ReasonVolumeSnapshotFailed, fmt.Sprintf("make the VolumeSnapshot: %v", err)}
	}
}

func snapshotFrom(u *unstructured.Unstructured) (*snapshotv1.VolumeSnapshot, error) {
	s := &snapshotv1.VolumeSnapshot{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, s); err != nil {
		return nil, fmt.Errorf("read VolumeSnapshot %s: %w", u.GetName(), err)
	}
	return s, nil
}
