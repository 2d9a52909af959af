package mover

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/mover/trigger"
	"github.com/cairn-backup/cairn/internal/task"
)

// Intervals at which awaited objects are read: short for as long as most CSI drivers take, then longer.
const (
	lookFast    = 500 * time.Millisecond
	lookSlow    = 3 * time.Second
	lookFastFor = 30 * time.Second
	// atOnce is how many objects are requested concurrently.
	atOnce = 16
)

// objectMaker is the work of a mover that makes an object for each component and waits for what others make of it.
type objectMaker struct {
	m      *Mover
	t      task.Task
	client dynamic.ResourceInterface
	began  time.Time
	// made holds the UIDs of the objects by component. done holds how components ended.
	made map[string]types.UID
	done map[string]task.ComponentResult
}

func (m *Mover) objectMaker(t task.Task, objects schema.GroupVersionResource) objectMaker {
	return objectMaker{
		m: m, t: t, client: m.Client.Resource(objects).Namespace(t.Namespace), began: m.Now(),
		made: map[string]types.UID{}, done: map[string]task.ComponentResult{},
	}
}

// makeAll makes the objects of all components concurrently with one, and ends the components whose objects could not
// be made.
func (w *objectMaker) makeAll(
	one func(task.Component) (types.UID, *failure.Failure), end func(task.Component, *failure.Failure),
) {
	type outcome struct {
		uid types.UID
		f   *failure.Failure
	}
	outcomes := make([]outcome, len(w.t.Components))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, c := range w.t.Components {
		group.Go(func() error {
			outcomes[i].uid, outcomes[i].f = one(c)
			return nil
		})
	}
	_ = group.Wait() // outcomes hold the errors
	for i, c := range w.t.Components {
		w.made[c.Name] = outcomes[i].uid
		if f := outcomes[i].f; f != nil {
			end(c, f)
		}
	}
}

// create creates an object in the API server. It retries errors that can pass. If an answer was lost, the object
// exists at the next try and the caller finds it by its name.
func (w *objectMaker) create(ctx context.Context, object any) (types.UID, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return "", fmt.Errorf("encode object: %w", err)
	}
	var uid types.UID
	var last error
	err = wait.ExponentialBackoffWithContext(ctx, createBackoff, func(ctx context.Context) (bool, error) {
		var created *unstructured.Unstructured
		created, last = w.client.Create(ctx, &unstructured.Unstructured{Object: fields},
			metav1.CreateOptions{FieldManager: report.FieldManager})
		switch {
		case last == nil:
			uid = created.GetUID()
			return true, nil
		case isRetriable(last):
			return false, nil
		}
		return false, last
	})
	return uid, cmp.Or(last, err)
}

// createBackoff retries for about a minute.
var createBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 7}

// isRetriable reports whether the API server can accept the same object a moment later. That includes a forbidden one:
// a RoleBinding takes effect a moment after it was made, and a quota can become free.
func isRetriable(err error) bool {
	return apierrors.IsForbidden(err) || trigger.Transient(err) && !apierrors.IsNotFound(err)
}

// wait calls look until it has ended all components. When late is true, look must end the rest. If the mover is told
// to stop, stop ends the rest.
func (w *objectMaker) wait(
	ctx context.Context, timeout time.Duration, look func(late bool), stop func(*failure.Failure),
) {
	deadline := w.m.Now().Add(timeout)
	for {
		look(!w.m.Now().Before(deadline))
		if len(w.done) == len(w.t.Components) {
			return
		}
		pause := lookFast
		if w.m.Now().Sub(w.began) > lookFastFor {
			pause = lookSlow
		}
		select {
		case <-ctx.Done():
			stop(interruptedFailure())
			return
		case <-time.After(pause):
		}
	}
}

// pending returns the components that have not ended.
func (w *objectMaker) pending() []task.Component {
	return slices.DeleteFunc(slices.Clone(w.t.Components), func(c task.Component) bool {
		_, ended := w.done[c.Name]
		return ended
	})
}

// results returns how the components ended, in their order.
func (w *objectMaker) results() []task.ComponentResult {
	var out []task.ComponentResult
	for _, c := range w.t.Components {
		out = append(out, w.done[c.Name])
	}
	return out
}

// interruptedFailure is the failure of interrupted work. Another mover continues it.
func interruptedFailure() *failure.Failure {
	return failure.New(v1alpha1.ReasonCancelled, "the mover was told to stop")
}

// typed converts an object to its Go type.
func typed[T any](u *unstructured.Unstructured) (*T, error) {
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return out, nil
}
