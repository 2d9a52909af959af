package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// current is an assignment as the API server has it now, reduced to the components that are left to do.
type current struct {
	work       sidecar.Work
	assignment sidecar.Assignment
	// snapshot or restore is the object that gives the work. The other one is nil.
	snapshot *v1alpha1.Snapshot
	restore  *v1alpha1.RestoreSession
	// refused means that the sidecar does not carry out such an order.
	refused bool
}

// read returns an object with the assignment of this pod, from the API server instead of the watch. The assignment is
// nil if it no longer stands.
func (s *Sidecar) read(ctx context.Context, p posting) (object *unstructured.Unstructured, work sidecar.Work,
	a *sidecar.Assignment, err error,
) {
	ctx, cancel := context.WithTimeout(ctx, mover.ReportWithin)
	defer cancel()
	object, err = s.Client.Resource(v1alpha1.GroupVersion.WithResource(p.resource)).Namespace(s.Namespace).
		Get(ctx, p.object, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, work, nil, nil
	}
	if err != nil {
		return nil, work, nil, fmt.Errorf("get %s: %w", p.object, err)
	}
	work, err = sidecar.Decode(object.GetAnnotations()[v1alpha1.AnnotationSidecarTask])
	a = work.For(s.PodUID)
	if err != nil || a == nil || object.GetUID() != p.uid ||
		v1alpha1.HasRecordAnnotation(object.GetAnnotations()) || a.Host != p.assignment.Host ||
		a.Attempt != p.assignment.Attempt {
		return object, work, nil, nil // an unreadable annotation assigns nothing to this pod
	}
	return object, work, a, nil
}

// stands reports whether an assignment still exists, according to the API server.
func (s *Sidecar) stands(ctx context.Context, p posting) (bool, error) {
	_, _, a, err := s.read(ctx, p)
	return a != nil, err
}

// current reads an assignment from the API server instead of the watch. It returns nil if nothing is left to do or
// the assignment no longer stands.
func (s *Sidecar) current(ctx context.Context, p posting) (*current, error) {
	object, work, a, err := s.read(ctx, p)
	if err != nil || a == nil {
		return nil, err
	}
	out := &current{work: work, assignment: *a}
	if out.snapshot, out.restore, err = decode(p.resource, object.Object); err != nil {
		return nil, err
	}
	done, resume, begun := out.reportedComponents()
	out.assignment.Components = nil
	for _, c := range a.Components {
		if !done[c.Name] {
			c.Resume = resume[c.Name] // an order alone must not say that the content of a volume is our own
			out.assignment.Components = append(out.assignment.Components, c)
			if begun[c.Name] && out.work.Task.Restore != nil {
				out.work.Task.Restore.Again = true // what this attempt keeps can be what it wrote before
			}
		}
	}
	if len(out.assignment.Components) == 0 {
		return nil, nil
	}
	return out, nil
}

// decode returns the object that gives work.
func decode(resource string, object map[string]any) (*v1alpha1.Snapshot, *v1alpha1.RestoreSession, error) {
	convert := runtime.DefaultUnstructuredConverter.FromUnstructured
	if resource == snapshots {
		s := &v1alpha1.Snapshot{}
		if err := convert(object, s); err != nil {
			return nil, nil, fmt.Errorf("decode Snapshot: %w", err)
		}
		return s, nil, nil
	}
	r := &v1alpha1.RestoreSession{}
	if err := convert(object, r); err != nil {
		return nil, nil, fmt.Errorf("decode RestoreSession: %w", err)
	}
	return nil, r, nil
}

// reportedComponents returns the components whose end the status holds, those into whose volumes this sidecar, or an
// earlier attempt, began to write, and those of a restore that it had begun.
func (c *current) reportedComponents() (done, resume, begun map[string]bool) {
	done, resume, begun = map[string]bool{}, map[string]bool{}, map[string]bool{}
	if c.snapshot != nil {
		for name, c := range c.snapshot.Status.Components {
			done[name] = c.Phase.Terminal()
		}
		return done, resume, begun
	}
	for name, c := range c.restore.Status.Components {
		done[name], resume[name] = c.Phase.Terminal(), c.TargetWritten
		begun[name] = c.Phase == v1alpha1.RestoreSessionRunning
	}
	return done, resume, begun
}

// sidecarStatus reports for an assignment as long as it stands, and remembers for which components it reported the
// end: a sidecar has no termination message. The watch can lag behind. A pod that was cut off from the API server, or
// stood still, must not overwrite the reports of the pod that took its place.
type sidecarStatus struct {
	mover.StatusWriter
	work context.Context // it ends with the assignment
	// stands asks whether the assignment still stands. withdraw ends the work if it does not.
	stands   func(context.Context) (bool, error)
	withdraw func()

	mu       sync.Mutex
	accepted map[string]bool
}

// Snapshot implements StatusWriter.
func (s *sidecarStatus) Snapshot(ctx context.Context, object task.Object, name string, c v1alpha1.Component) error {
	return s.report(ctx, name, c.Phase.Terminal(),
		func() error { return s.StatusWriter.Snapshot(ctx, object, name, c) })
}

// Restore implements StatusWriter. It does not report an interruption unless the assignment must stop: the end of the
// pod shows it.
func (s *sidecarStatus) Restore(
	ctx context.Context, object task.Object, name string, c v1alpha1.RestoredComponent,
) error {
	if c.Reason == v1alpha1.ReasonCancelled && !errors.Is(context.Cause(s.work), errStop) {
		return nil
	}
	return s.report(ctx, name, c.Phase.Terminal(), func() error { return s.StatusWriter.Restore(ctx, object, name, c) })
}

func (s *sidecarStatus) report(ctx context.Context, name string, terminal bool, send func() error) error {
	err := s.whileItStands(ctx, send)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accepted == nil {
		s.accepted = map[string]bool{}
	}
	s.accepted[name] = (err == nil || errors.Is(err, report.ErrFenced)) && terminal
	return err
}

// whileItStands sends a report. It returns report.ErrFenced if the assignment no longer belongs to this pod.
func (s *sidecarStatus) whileItStands(ctx context.Context, send func() error) error {
	if errors.Is(context.Cause(s.work), errWithdrawn) {
		return report.ErrFenced
	}
	switch stands, err := s.stands(ctx); {
	case err != nil:
		return err
	case !stands:
		s.withdraw()
		return report.ErrFenced
	}
	return send()
}

// unreported returns the reports of components whose end the API server has not accepted yet. They go to the object
// that gave the work, whatever the work says.
func (s *sidecarStatus) unreported(p posting, c *current, result task.Result) []func(context.Context) error {
	object := task.Object{Name: p.object, UID: p.uid}
	s.mu.Lock()
	defer s.mu.Unlock()
	results := map[string]task.ComponentResult{}
	for _, r := range result.Components {
		results[r.Name] = r
	}
	var out []func(context.Context) error
	for _, component := range c.assignment.Components {
		if s.accepted[component.Name] {
			continue
		}
		r, ok := results[component.Name]
		if !ok {
			r = task.ComponentResult{
				Name: component.Name, Path: component.Path, Outcome: task.OutcomeFailed, Reason: result.Reason,
				Error: result.Message,
			}
		}
		out = append(out, func(ctx context.Context) error {
			return s.whileItStands(ctx, func() error {
				if c.restore != nil {
					r.ID = component.ID
					return s.StatusWriter.Restore(ctx, object, r.Name, r.Restored())
				}
				return s.StatusWriter.Snapshot(ctx, object, r.Name, r.Component(v1alpha1.DriverKopia))
			})
		})
	}
	return out
}

// sendReports sends the reports that the API server did not accept during the work, until it accepts them or the
// assignment is withdrawn. With once it tries each once: who forges an order must not hold up what comes after it.
func (s *Sidecar) sendReports(
	ctx context.Context, b *assignmentBoard, p posting, reports []func(context.Context) error, once bool,
) {
	for len(reports) > 0 {
		try, cancel := context.WithTimeout(ctx, mover.ReportWithin)
		err := reports[0](try)
		cancel()
		if err == nil || apierrors.IsNotFound(err) || once && apierrors.IsForbidden(err) {
			reports = reports[1:]
			continue
		}
		if apierrors.IsInvalid(err) {
			s.Log.Error("the API server refused the report", "object", p.object, "error", err)
			reports = reports[1:]
			continue
		}
		s.Log.Warn("retry the report", "object", p.object, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryReportEvery):
		}
		if !b.stands(p) {
			return
		}
	}
}
