// Package report writes the status of components to the API server, as the mover's own field manager.
package report

import (
	"cmp"
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
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

// Snapshot implements StatusWriter.
func (s APIStatus) Snapshot(ctx context.Context, object, name string, c v1alpha1.Component) error {
	return s.apply(ctx, v1alpha1.SnapshotKind, "snapshots", object, name, &c)
}

// Restore implements StatusWriter.
func (s APIStatus) Restore(ctx context.Context, object, name string, c v1alpha1.RestoredComponent) error {
	return s.apply(ctx, v1alpha1.RestoreSessionKind, "restoresessions", object, name, &c)
}

// apply applies one component.
func (s APIStatus) apply(ctx context.Context, kind, resource, object, name string, component any) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(component)
	if err != nil {
		return fmt.Errorf("encode component: %w", err)
	}
	patch := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       kind,
		"metadata":   map[string]any{"name": object, "namespace": s.Namespace},
		"status":     map[string]any{"components": map[string]any{name: fields}},
	}}
	_, err = s.Client.Resource(v1alpha1.GroupVersion.WithResource(resource)).Namespace(s.Namespace).
		ApplyStatus(ctx, object, patch,
			metav1.ApplyOptions{FieldManager: manager(cmp.Or(s.Manager, FieldManager), name), Force: true})
	if err != nil {
		return fmt.Errorf("apply status of %s: %w", object, err)
	}
	return nil
}

// manager returns the field manager of a component. It has at most 128 characters.
func manager(beginning, component string) string {
	return beginning + "/" + policy.LabelValue(component)
}
