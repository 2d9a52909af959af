package oneshot

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

// finalizers hold a one-shot object until its work has ended and is recorded.
var finalizers = []string{v1alpha1.FinalizerCancel, v1alpha1.FinalizerRecord}

// AddFinalizers gives an object its finalizers, without writing it.
func AddFinalizers(s client.Object) {
	for _, f := range finalizers {
		controllerutil.AddFinalizer(s, f)
	}
}

// Hold writes the finalizers of a new object.
func Hold(ctx context.Context, w status.Writer, s client.Object) error {
	return w.Hold(ctx, s, finalizers...)
}

// Release removes the finalizer of the controller from an ended object, so that it can be deleted.
func Release(ctx context.Context, w status.Writer, s client.Object) error {
	_, err := w.Release(ctx, s, v1alpha1.FinalizerCancel)
	return err
}
