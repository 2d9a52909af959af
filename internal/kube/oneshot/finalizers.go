package oneshot

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

// AddFinalizers gives an object its finalizers, without writing it. The object then stays until its work has ended
// and is recorded.
func AddFinalizers(s client.Object) {
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerCancel)
	controllerutil.AddFinalizer(s, v1alpha1.FinalizerRecord)
}

// Hold writes the finalizers of a new object.
func Hold(ctx context.Context, w status.Writer, s client.Object) error {
	before := s.DeepCopyObject().(client.Object)
	AddFinalizers(s)
	return w.Object(ctx, before, s)
}

// Release removes the finalizer of the controller from an ended object, so that it can be deleted.
func Release(ctx context.Context, w status.Writer, s client.Object) error {
	before := s.DeepCopyObject().(client.Object)
	controllerutil.RemoveFinalizer(s, v1alpha1.FinalizerCancel)
	return client.IgnoreNotFound(w.Object(ctx, before, s))
}
