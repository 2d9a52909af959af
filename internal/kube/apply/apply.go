// Package apply writes generated objects with server-side apply and reports whether there is anything to write. Its
// functions keep no state and are safe for concurrent use.
package apply

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/internal/kube/logs"
)

// Object applies obj without its status under the field manager and takes over the fields that it sets. Where obj has a
// UID, Object returns Invalid if the name belongs to an object with another UID, which it leaves alone, and Conflict if
// the object was deleted, which it does not create again. It logs the object as changed, or without a UID as created.
// Afterwards obj holds what the API server has.
func Object(ctx context.Context, c client.Client, manager string, obj client.Object) error {
	gvk, err := apiutil.GVKForObject(obj, c.Scheme())
	if err != nil {
		return err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return fmt.Errorf("convert %s %s: %w", gvk.Kind, klog.KObj(obj), err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	unstructured.RemoveNestedField(u.Object, "status")
	for _, field := range []string{"creationTimestamp", "managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager),
		client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s: %w", gvk.Kind, klog.KObj(obj), err)
	}
	log := logf.FromContext(ctx).WithValues(logs.Key(gvk.Kind), klog.KObj(obj))
	if obj.GetUID() == "" {
		log.Info("created")
	} else {
		log.Info("changed")
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj)
}

// MetadataDiffers reports whether actual lacks labels, annotations or owner references of wanted. It ignores everything
// else that actual has.
func MetadataDiffers(actual, wanted metav1.Object) bool {
	if lacks(actual.GetLabels(), wanted.GetLabels()) || lacks(actual.GetAnnotations(), wanted.GetAnnotations()) {
		return true
	}
	for _, owner := range wanted.GetOwnerReferences() {
		if !slices.ContainsFunc(actual.GetOwnerReferences(),
			func(o metav1.OwnerReference) bool { return o.UID == owner.UID }) {
			return true
		}
	}
	return false
}

func lacks(actual, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := actual[key]; !ok || got != value {
			return true
		}
	}
	return false
}
