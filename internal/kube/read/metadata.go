package read

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Metadata lists the metadata of objects of one of Cairn's kinds, page by page. live must not be a cache.
func Metadata(
	ctx context.Context, live client.Reader, kind string, options ...client.ListOption,
) ([]metav1.PartialObjectMetadata, error) {
	var out []metav1.PartialObjectMetadata
	err := pages(ctx, live, func() *metav1.PartialObjectMetadataList {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		return list
	}, func(page *metav1.PartialObjectMetadataList) error {
		out = append(out, page.Items...)
		return nil
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("list metadata of each %s: %w", kind, err)
	}
	return out, nil
}

// Unsettled reads objects of one of Cairn's kinds past the cache, except for those that the cache settles. settled
// reports whether the cached object is enough, given its live metadata. It must not change anything. The cache lists
// into known. live must not be a cache.
func Unsettled[T any, P interface {
	*T
	client.Object
}](
	ctx context.Context, cache, live client.Reader, kind string, known client.ObjectList,
	settled func(cached P, is *metav1.PartialObjectMetadata) bool, options ...client.ListOption,
) ([]T, error) {
	all, err := Metadata(ctx, live, kind, options...)
	if err != nil {
		return nil, err
	}
	if err := cache.List(ctx, known, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list each %s: %w", kind, err)
	}
	cached := make(map[types.UID]P, meta.LenList(known))
	if err := meta.EachListItem(known, func(o runtime.Object) error {
		p := o.(P)
		cached[p.GetUID()] = p
		return nil
	}); err != nil {
		return nil, fmt.Errorf("list each %s: %w", kind, err)
	}
	var out []T
	for i := range all {
		is := &all[i]
		if p := cached[is.UID]; p != nil && settled(p, is) {
			continue
		}
		o := P(new(T))
		if err := live.Get(ctx, client.ObjectKeyFromObject(is), o); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get %s %s/%s: %w", kind, is.Namespace, is.Name, err)
		} else if err == nil {
			out = append(out, *o)
		}
	}
	return out, nil
}
