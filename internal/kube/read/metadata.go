package read

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Metadata lists the metadata of objects of one of Cairn's kinds.
func Metadata(
	ctx context.Context, c client.Reader, kind string, options ...client.ListOption,
) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
	if err := c.List(ctx, list, options...); err != nil {
		return nil, fmt.Errorf("list metadata of each %s: %w", kind, err)
	}
	return list.Items, nil
}
