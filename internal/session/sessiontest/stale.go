package sessiontest

import (
	"context"
	"reflect"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Stale is a client as a cache that lags makes it.
type Stale struct {
	client.Client
	// Old are objects that it gives as they were.
	Old []client.Object
	// NoJobs hides all Jobs from lists.
	NoJobs bool
}

// Get gives the old copy of an object, if there is one.
func (s Stale) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	for _, old := range s.Old {
		if reflect.TypeOf(old) == reflect.TypeOf(obj) && client.ObjectKeyFromObject(old) == key {
			reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(old.DeepCopyObject()).Elem())
			return nil
		}
	}
	return s.Client.Get(ctx, key, obj, opts...)
}

// List lists what is there now.
func (s Stale) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*batchv1.JobList); ok && s.NoJobs {
		return nil
	}
	return s.Client.List(ctx, list, opts...)
}
