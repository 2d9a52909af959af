// Package directory finds the Repositories that stand in each other's way: those on one directory of a storage, and those
// whose directory lies in another's.
package directory

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Entries of an index by directory are "at <key>" for a directory and "in <key>" for it and all that it lies in.
const (
	at = "at "
	in = "in "
)

// Keys are policy.DirectoryKeys of a Repository; none of one that has no directory.
func Keys(r *v1alpha1.Repository) []string {
	if policy.HoldsVolumeSnapshots(r) {
		return nil
	}
	return policy.DirectoryKeys(r.Namespace, r.Spec.StorageRef, r.Spec.Path)
}

// Entries are the values in an index of an object with the directory that has these keys.
func Entries(keys []string) []string {
	if len(keys) == 0 {
		return nil
	}
	entries := []string{at + keys[0]}
	for _, key := range keys {
		entries = append(entries, in+key)
	}
	return entries
}

// Queries are the values that find, one after the other, everything whose directory overlaps with the one that has these
// keys, itself included.
func Queries(keys []string) []string {
	if len(keys) == 0 {
		return nil
	}
	queries := []string{in + keys[0]}
	for _, around := range keys[1:] {
		queries = append(queries, at+around)
	}
	return queries
}

// Index is the name of an index of Repositories by directory.
type Index string

// Register adds the index to a cache. Each name can be registered once.
func (i Index) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.Repository{}, string(i), func(o client.Object) []string {
		return Entries(Keys(o.(*v1alpha1.Repository)))
	})
	if err != nil {
		return fmt.Errorf("index Repositories by directory: %w", err)
	}
	return nil
}

// Overlapping are the other Repositories whose directories are that of r, lie in it or lie around it. Records are none.
func (i Index) Overlapping(ctx context.Context, reader client.Reader, r *v1alpha1.Repository) ([]v1alpha1.Repository, error) {
	var others []v1alpha1.Repository
	for _, query := range Queries(Keys(r)) {
		var list v1alpha1.RepositoryList
		if err := reader.List(ctx, &list, client.MatchingFields{string(i): query}); err != nil {
			return nil, fmt.Errorf("list Repositories by directory: %w", err)
		}
		for _, other := range list.Items {
			if client.ObjectKeyFromObject(&other) != client.ObjectKeyFromObject(r) && !v1alpha1.HasRecordAnnotation(other.Annotations) {
				others = append(others, other)
			}
		}
	}
	return others, nil
}

// Elder is the oldest of those that overlap with r and have the better right to the directory, or nil. A Repository that
// does not exist yet, which has no UID, is younger than all. One whose path can't be a directory never has any. Else it
// does not count whether the elder may have its directory itself: the end of a third one could take away a directory that
// is in use.
func (i Index) Elder(ctx context.Context, reader client.Reader, r *v1alpha1.Repository) (*v1alpha1.Repository, error) {
	others, err := i.Overlapping(ctx, reader, r)
	if err != nil {
		return nil, err
	}
	var elder *v1alpha1.Repository
	for j := range others {
		other := &others[j]
		if _, err := layout.NormalizeDirectory(other.Spec.Path); err != nil {
			continue
		}
		if (r.UID == "" || policy.Older(other, r)) && (elder == nil || policy.Older(other, elder)) {
			elder = other
		}
	}
	return elder, nil
}

// Taken says what stands in the way of r, for a sentence after which comes what to do.
func Taken(r, elder *v1alpha1.Repository) string {
	name := elder.Namespace + "/" + elder.Name
	if Keys(r)[0] == Keys(elder)[0] {
		return fmt.Sprintf("Repository %s has this directory already", name)
	}
	return fmt.Sprintf("Repository %s has the directory %q already, and one can't lie in another", name, elder.Spec.Path)
}
