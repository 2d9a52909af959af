package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pageSize is the number of objects in one answer. A cluster can have hundreds of thousands, so no list is read at
// once.
const pageSize = 500

// reader reads from the API server and remembers what it could not read.
type reader struct {
	api    client.Reader
	unread map[string]string
	err    error
}

// failed notes an error of a resource. One of the API server leaves out the resource; any other ends the command.
func (r *reader) failed(resource string, err error) {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status) && !apierrors.IsUnauthorized(err):
		r.unread[resource] = err.Error()
	case apimeta.IsNoMatchError(err):
		r.unread[resource] = "the cluster does not know them: install Cairn"
	case r.err == nil:
		r.err = fmt.Errorf("read %s: %w", resource, err)
	}
}

// get reads an object, and reports whether it exists.
func (r *reader) get(ctx context.Context, resource string, key client.ObjectKey, into client.Object) bool {
	if r.err != nil {
		return false
	}
	err := r.api.Get(ctx, key, into)
	if err != nil && !apierrors.IsNotFound(err) {
		r.failed(resource, err)
	}
	return err == nil
}

// pages lists a resource page by page.
func pages[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, r *reader, resource string, do func(P), options ...client.ListOption) {
	each(ctx, r, resource, func() P { return new(L) }, do, options...)
}

// metadata lists only the metadata of a resource, page by page.
func metadata(
	ctx context.Context, r *reader, resource string, kind schema.GroupVersionKind,
	do func(*metav1.PartialObjectMetadata), options ...client.ListOption,
) {
	each(ctx, r, resource, func() *metav1.PartialObjectMetadataList {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind)
		return list
	}, func(page *metav1.PartialObjectMetadataList) {
		for i := range page.Items {
			do(&page.Items[i])
		}
	}, options...)
}

func each[P client.ObjectList](
	ctx context.Context, r *reader, resource string, empty func() P, do func(P), options ...client.ListOption,
) {
	next := ""
	for r.err == nil {
		page := empty()
		err := r.api.List(ctx, page, append(slices.Clone(options), client.Limit(pageSize), client.Continue(next))...)
		if err != nil {
			r.failed(resource, err)
			return
		}
		do(page)
		if next = page.GetContinue(); next == "" {
			return
		}
	}
}
