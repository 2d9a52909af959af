package sessiontest

import (
	"context"
	"reflect"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Stale is a client with a cache that lags behind.
type Stale struct {
	client.Client
	// Old are objects that it returns in an old state.
	Old []client.Object
	// None are examples of kinds of which it has no object yet.
	None []client.Object
	// NoJobs and NoSnapshots hide all Jobs and all Snapshots from lists.
	NoJobs, NoSnapshots bool
}

// Get returns the old state of an object, if there is one. It finds no objects of the kinds in None.
func (s Stale) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	for _, old := range s.Old {
		if reflect.TypeOf(old) == reflect.TypeOf(obj) && client.ObjectKeyFromObject(old) == key {
			reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(old.DeepCopyObject()).Elem())
			return nil
		}
	}
	for _, none := range s.None {
		if reflect.TypeOf(none) == reflect.TypeOf(obj) {
			return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
		}
	}
	return s.Client.Get(ctx, key, obj, opts...)
}

// List returns what exists now.
func (s Stale) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list.(type) {
	case *batchv1.JobList:
		if s.NoJobs {
			return nil
		}
	case *v1alpha1.SnapshotList:
		if s.NoSnapshots {
			return nil
		}
	}
	return s.Client.List(ctx, list, opts...)
}
