package index

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Snapshots names an index of the Snapshots by their Repository.
type Snapshots string

// Register adds the index to a cache. Each name can be registered only once.
func (i Snapshots) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.Snapshot{}, string(i), func(o client.Object) []string {
		return []string{o.(*v1alpha1.Snapshot).Spec.Repository}
	})
	if err != nil {
		return fmt.Errorf("index Snapshots by repository: %w", err)
	}
	return nil
}

// Of lists the Snapshots of a Repository by name, including those that are being deleted, without records. With
// client.UnsafeDisableDeepCopy the caller must not change them. The lists of a cache have no order, and what a
// condition says about the first Snapshot must not change at each look.
func (i Snapshots) Of(
	ctx context.Context, c client.Reader, namespace, repository string, opts ...client.ListOption,
) ([]*v1alpha1.Snapshot, error) {
	var list v1alpha1.SnapshotList
	opts = append(opts, client.InNamespace(namespace), client.MatchingFields{string(i): repository})
	if err := c.List(ctx, &list, opts...); err != nil {
		return nil, fmt.Errorf("list Snapshots of Repository %s: %w", repository, err)
	}
	out := make([]*v1alpha1.Snapshot, 0, len(list.Items))
	for j := range list.Items {
		if s := &list.Items[j]; !v1alpha1.HasRecordAnnotation(s.Annotations) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *v1alpha1.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
