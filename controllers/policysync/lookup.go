package policysync

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// lookup resolves references with the cluster's objects of Cairn's own kinds. A missing object is no mistake of the
// revision: it can come later, and the object that refers to it reports it in its conditions.
func (s *reconciling) lookup(ctx context.Context) check.Lookup {
	found := map[check.Reference]*unstructured.Unstructured{}
	return func(ref check.Reference) (*unstructured.Unstructured, bool) {
		if u, ok := found[ref]; ok {
			return u, u != nil
		}
		u := s.find(ctx, ref)
		found[ref] = u
		return u, u != nil
	}
}

func (s *reconciling) find(ctx context.Context, ref check.Reference) *unstructured.Unstructured {
	gvk := ref.WithVersion(v1alpha1.GroupVersion.Version)
	if ref.Group != v1alpha1.Group {
		return nil
	}
	empty, err := s.Scheme.New(gvk)
	if err != nil {
		return nil
	}
	object, ok := empty.(client.Object)
	if !ok || s.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, object) != nil {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	return u
}
