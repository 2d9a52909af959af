// Package report writes the status of components to the API server, as the mover's own field manager.
package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// FieldManager begins the field managers of movers. Each component has its own, because server-side apply removes
// fields that a manager no longer applies.
const FieldManager = v1alpha1.MoverServiceAccount

// APIStatus reports with server-side apply of the status. The mover needs only the right to patch it.
type APIStatus struct {
	// Client of the API server.
	Client dynamic.Interface
	// Namespace is the namespace of the Job.
	Namespace string
	// Manager begins the field managers, of which each component has one. Empty means FieldManager.
	Manager string
}

// ErrFenced means that reports of this mover do not count any more: the manager has given the mover up, or the object
// is gone.
var ErrFenced = errors.New("the manager does not expect this mover's work any more")

// Snapshot implements StatusWriter. The error can be ErrFenced.
func (s APIStatus) Snapshot(ctx context.Context, object task.Object, name string, c v1alpha1.Component) error {
	return s.apply(ctx, v1alpha1.SnapshotKind, "snapshots", object, name, &c)
}

// Restore implements StatusWriter. The error can be ErrFenced.
func (s APIStatus) Restore(
	ctx context.Context, object task.Object, name string, c v1alpha1.RestoredComponent,
) error {
	return s.apply(ctx, v1alpha1.RestoreSessionKind, "restoresessions", object, name, &c)
}

// retry is the pause after somebody else's write came before a report: many movers can report to one object.
var retry = wait.Backoff{Duration: 20 * time.Millisecond, Factor: 1.5, Jitter: 1, Cap: time.Second, Steps: 50}

// apply applies one component to the object with this name and UID. A mover on a node that was lost can report after
// its object was deleted and made again. The API server ignores a UID in an apply of the status: so apply first
// compares it, and then names the version that it compared. Until ctx ends, it tries again if somebody else's write
// came before.
func (s APIStatus) apply(
	ctx context.Context, kind, resource string, object task.Object, name string, component any,
) error {
	if object.UID == "" {
		return fmt.Errorf("apply status of %s: the task names no UID", object.Name)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(component)
	if err != nil {
		return fmt.Errorf("encode component: %w", err)
	}
	patch := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       kind,
		"metadata":   map[string]any{"name": object.Name, "namespace": s.Namespace},
		"status":     map[string]any{"components": map[string]any{name: fields}},
	}}
	same, err := json.Marshal([]map[string]any{{"op": "test", "path": "/metadata/uid", "value": object.UID}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	api := s.Client.Resource(v1alpha1.GroupVersion.WithResource(resource)).Namespace(s.Namespace)
	var last error
	err = retry.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		now, err := api.Patch(ctx, object.Name, types.JSONPatchType, same, metav1.PatchOptions{}, "status")
		if err != nil {
			if differs(err) || fences(err) {
				err = fmt.Errorf("%w: %w", ErrFenced, err)
			}
			return false, fmt.Errorf("compare the UID of %s: %w", object.Name, err)
		}
		patch.SetResourceVersion(now.GetResourceVersion())
		if !task.TellsPatterns(componentsWith(now, name)) {
			delete(fields, "unmatchedPatterns")
		}
		if kind == v1alpha1.RestoreSessionKind {
			joinAttempt(componentOf(now, name), fields)
		}
		_, err = api.ApplyStatus(ctx, object.Name, patch,
			metav1.ApplyOptions{FieldManager: manager(cmp.Or(s.Manager, FieldManager), name), Force: true})
		if err == nil {
			return true, nil
		}
		if fences(err) {
			err = fmt.Errorf("%w: %w", ErrFenced, err)
		}
		last = fmt.Errorf("apply status of %s: %w", object.Name, err)
		if !apierrors.IsConflict(err) {
			return false, last
		}
		return false, nil
	})
	if wait.Interrupted(err) && last != nil {
		return last
	}
	return err
}

// differs reports whether the API server itself says that the test of a JSON patch failed. Neither a proxy before it
// nor a webhook behind it has tested anything.
func differs(err error) bool {
	return apierrors.IsInvalid(err) && !unexpected(err) && !strings.Contains(err.Error(), "admission webhook")
}

// unexpected reports whether an answer is not one of the API server.
func unexpected(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// fences reports whether an error says for good that the object takes no reports of this mover: it is gone, or
// config/admission/mover_policy.yaml finds the mover's Job no longer in AnnotationMovers. Any other lack of a right can
// end by itself, and a proxy before the API server says NotFound of what is there.
func fences(err error) bool {
	if apierrors.IsNotFound(err) {
		return !unexpected(err)
	}
	return apierrors.IsForbidden(err) && (strings.Contains(err.Error(), v1alpha1.AnnotationMovers) ||
		strings.Contains(err.Error(), ownComponents))
}

// ownComponents is what the policy says of a Job that has other components of the object.
const ownComponents = "can change only its own components: "

// joinAttempt makes a report of a component go with what is there. now is what the status says of the component. If
// that is of another mover of the same attempt, the component was begun when that one did, and its target counts as
// untouched only if that one left it so: a Job that was suspended gets another pod, and a sidecar another container.
func joinAttempt(now, report map[string]any) {
	began, _ := now["startTime"].(string)
	if untouched, _ := now["targetUntouched"].(bool); began == "" || began == report["startTime"] || untouched {
		return
	}
	delete(report, "targetUntouched")
	if report["phase"] == string(v1alpha1.RestoreSessionRunning) {
		report["startTime"] = began
	}
}

// componentOf returns a component of an object's status.
func componentOf(o *unstructured.Unstructured, name string) map[string]any {
	c, _, _ := unstructured.NestedMap(o.Object, "status", "components", name)
	return c
}

// componentsWith returns how many components an object has once this one is among them.
func componentsWith(o *unstructured.Unstructured, name string) int {
	status, _ := o.Object["status"].(map[string]any)
	all, _ := status["components"].(map[string]any)
	if _, known := all[name]; known {
		return len(all)
	}
	return len(all) + 1
}

// manager returns the field manager of a component. It has at most 128 characters.
func manager(beginning, component string) string {
	return beginning + "/" + policy.LabelValue(component)
}
