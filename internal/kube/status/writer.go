// Package status writes the objects of Cairn. Everything that a controller writes into a status, or into the metadata
// of an object that it reconciles, goes through a Writer.
//
// A Writer is safe for concurrent use, a Patcher belongs to one reconcile. Invariants: one write carries all that
// changed in a status, so that no reader sees a condition without its phase. Unless a function says otherwise, a write
// fails with a conflict if the object has changed since the decision was made. Each change of phase or readiness is
// logged once.
package status

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// Writer writes the objects of one controller.
type Writer struct {
	// Client writes. Reconcile also reads with it.
	Client client.Client
	// Events receives the events.
	Events record.EventRecorder
	// Owner is the field manager of all writes.
	Owner string
	// Kind is the kind that the controller reconciles: its key and name are in the logger of the context already.
	Kind string
	// Warnings are the conditions of which Reconcile emits events, after it has written them. It emits none if the
	// write fails.
	Warnings []Warning
}

// Warning is a condition that warns while it is true. It is an event when it becomes true.
type Warning struct {
	Condition string
	// EachMessage means that another message is an event, too.
	EachMessage bool
}

// Status writes the status of after, if after differs from before, and logs the transition.
func (w Writer) Status(ctx context.Context, before, after client.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		w.logUnchanged(ctx, after)
		return nil
	}
	changes, err := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}).Data(after)
	if err != nil {
		return fmt.Errorf("compare %s %s with what it was: %w", w.kindOf(after), after.GetName(), err)
	}
	if string(changes) == fmt.Sprintf(`{"metadata":{"resourceVersion":%q}}`, before.GetResourceVersion()) {
		return nil // they differ in what the API server does not store, such as fractions of a second
	}
	patch := client.RawPatch(types.MergePatchType, changes)
	if err := w.Client.Status().Patch(ctx, after, patch, client.FieldOwner(w.Owner)); err != nil {
		return fmt.Errorf("write status of %s %s: %w", w.kindOf(after), after.GetName(), err)
	}
	w.logTransition(ctx, before, after)
	return nil
}

// Announce writes the status like Status, and emits the event if the status has changed. The event can be nil.
func (w Writer) Announce(ctx context.Context, before, after client.Object, event *run.Event) error {
	version := after.GetResourceVersion()
	if err := w.Status(ctx, before, after); err != nil {
		return err
	}
	if event != nil && after.GetResourceVersion() != version {
		w.Events.Event(after, event.Type, event.Reason, event.Message)
	}
	return nil
}

// Object writes metadata and spec of after, if after differs from before.
func (w Writer) Object(ctx context.Context, before, after client.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := w.Client.Patch(ctx, after, patch, client.FieldOwner(w.Owner)); err != nil {
		return fmt.Errorf("write %s %s: %w", w.kindOf(after), after.GetName(), err)
	}
	return nil
}

// Hold gives the object finalizers in one write. It writes nothing to an object that has them.
func (w Writer) Hold(ctx context.Context, o client.Object, finalizers ...string) error {
	before := o.DeepCopyObject().(client.Object)
	for _, f := range finalizers {
		controllerutil.AddFinalizer(o, f)
	}
	return w.Object(ctx, before, o)
}

// Release removes finalizers from the object in one write, and reports whether it did. It writes nothing to an object
// without these finalizers. That the object is gone is no error.
func (w Writer) Release(ctx context.Context, o client.Object, finalizers ...string) (bool, error) {
	before, removed := o.DeepCopyObject().(client.Object), false
	for _, f := range finalizers {
		removed = controllerutil.RemoveFinalizer(o, f) || removed
	}
	if !removed {
		return false, nil
	}
	err := w.Object(ctx, before, o)
	return err == nil, client.IgnoreNotFound(err)
}

// Apply applies the fields to the status of the object that kind and meta name, under the field manager owner: for an
// entry of a list that other controllers fill too. It overwrites what changed meanwhile. The API server does not
// compare the UID when it applies a status, so the fields can reach an object that was made again under the name.
// PatchSame prevents that.
func (w Writer) Apply(ctx context.Context, kind string, meta metav1.Object, owner string, fields map[string]any) error {
	u := objectOf(kind, meta)
	u.Object["status"] = fields
	err := w.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(owner),
		client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("write status of %s %s/%s: %w", kind, meta.GetNamespace(), meta.GetName(), err)
	}
	return nil
}

// Operation is one operation of a JSON patch (RFC 6902). A test for a nil value passes if the path does not exist.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// PatchSame applies a JSON patch to the status of the object that kind and meta name, under the field manager owner, if
// the object still has the UID of meta. The API server compares and writes in one step, whatever else changes in the
// object. It fails with Invalid if another object has the name, or if the patch does not fit the object.
func (w Writer) PatchSame(
	ctx context.Context, kind string, meta metav1.Object, owner string, patch ...Operation,
) error {
	same := Operation{Op: "test", Path: "/metadata/uid", Value: meta.GetUID()}
	data, err := json.Marshal(append([]Operation{same}, patch...))
	if err != nil {
		return fmt.Errorf("encode the patch of %s %s/%s: %w", kind, meta.GetNamespace(), meta.GetName(), err)
	}
	err = w.Client.Status().Patch(ctx, objectOf(kind, meta), client.RawPatch(types.JSONPatchType, data),
		client.FieldOwner(owner))
	if err != nil {
		return fmt.Errorf("write status of %s %s/%s: %w", kind, meta.GetNamespace(), meta.GetName(), err)
	}
	return nil
}

func objectOf(kind string, meta metav1.Object) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetNamespace(meta.GetNamespace())
	u.SetName(meta.GetName())
	return u
}

// announce records an event for a change of a condition.
func (w Writer) announce(object client.Object, is *metav1.Condition) {
	kind := corev1.EventTypeNormal
	if is.Status != metav1.ConditionTrue {
		kind = corev1.EventTypeWarning
	}
	w.Events.Event(object, kind, is.Reason, is.Message)
}
