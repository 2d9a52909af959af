// Package index finds objects by what they hold: Repositories whose directories overlap, and Snapshots that restores
// work with, so that nothing removes those Snapshots meanwhile. It keeps no state and is safe for concurrent use.
package index

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/policy"
)

// An index by directory holds the entry "at <key>" for a directory, and "in <key>" for the directory and each directory
// around it.
const (
	at = "at "
	in = "in "
)

// DirectoryKeys returns policy.DirectoryKeys of a Repository, or nil if it has no directory.
func DirectoryKeys(r *v1alpha1.Repository) []string {
	if policy.HoldsVolumeSnapshots(r) {
		return nil
	}
	return policy.DirectoryKeys(r.Namespace, r.Spec.StorageRef, r.Spec.Path)
}

// DirectoryEntries returns the index values of an object whose directory has these keys.
func DirectoryEntries(keys []string) []string {
	if len(keys) == 0 {
		return nil
	}
	entries := []string{at + keys[0]}
	for _, key := range keys {
		entries = append(entries, in+key)
	}
	return entries
}

// DirectoryQueries returns the index values that together find everything whose directory overlaps with the directory
// of these keys, itself included.
func DirectoryQueries(keys []string) []string {
	if len(keys) == 0 {
		return nil
	}
	queries := []string{in + keys[0]}
	for _, around := range keys[1:] {
		queries = append(queries, at+around)
	}
	return queries
}

// Directories names an index of Repositories by directory.
type Directories string

// Register adds the index to a cache. Each name can be registered only once.
func (i Directories) Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.Repository{}, string(i), func(o client.Object) []string {
		return DirectoryEntries(DirectoryKeys(o.(*v1alpha1.Repository)))
	})
	if err != nil {
		return fmt.Errorf("index Repositories by directory: %w", err)
	}
	return nil
}

// Overlapping returns the other Repositories whose directory is that of r, lies in it or lies around it. It leaves out
// copies from records.
func (i Directories) Overlapping(
	ctx context.Context, reader client.Reader, r *v1alpha1.Repository,
) ([]v1alpha1.Repository, error) {
	var others []v1alpha1.Repository
	for _, query := range DirectoryQueries(DirectoryKeys(r)) {
		var list v1alpha1.RepositoryList
		if err := reader.List(ctx, &list, client.MatchingFields{string(i): query}); err != nil {
			return nil, fmt.Errorf("list Repositories by directory: %w", err)
		}
		for _, other := range list.Items {
			if client.ObjectKeyFromObject(&other) != client.ObjectKeyFromObject(r) &&
				!v1alpha1.HasRecordAnnotation(other.Annotations) {
				others = append(others, other)
			}
		}
	}
	return others, nil
}

// Elder returns the Repository that overlaps with r and precedes it, or nil. One that was initialised precedes one that
// was not, and then the older precedes. One that was not initialised where its storage is now counts only while it
// could be: its path is a valid directory, and its storage allows that directory to its namespace. So nobody holds
// directories of a storage that he has no right to, and nobody gets a directory that is in use by a right that comes
// later. A Repository that does not exist yet, and so has no UID, comes after all others. Elder does not ask whether
// the elder itself has an elder: otherwise the end of a third Repository could take away a directory that is in use.
// cluster is the name of the cluster.
func (i Directories) Elder(
	ctx context.Context, reader client.Reader, cluster string, r *v1alpha1.Repository,
) (*v1alpha1.Repository, error) {
	others, err := i.Overlapping(ctx, reader, r)
	if err != nil || len(others) == 0 {
		return nil, err
	}
	key := r.Spec.StorageRef.In(r.Namespace)
	storage := &v1alpha1.BackupStorage{}
	if err := reader.Get(ctx, key, storage); apierrors.IsNotFound(err) {
		return nil, nil // nobody can write into the directory
	} else if err != nil {
		return nil, fmt.Errorf("get BackupStorage %s: %w", key, err)
	}
	var elder *v1alpha1.Repository
	for j := range others {
		other := &others[j]
		if r.UID != "" && !precedes(other, r) || elder != nil && !precedes(other, elder) {
			continue
		}
		counts, err := counts(ctx, reader, storage, cluster, other)
		if err != nil {
			return nil, err
		}
		if counts {
			elder = other
		}
	}
	return elder, nil
}

// precedes reports whether a comes before b where both claim a directory of a storage.
func precedes(a, b *v1alpha1.Repository) bool {
	if has := a.Status.InitializedSpec != ""; has != (b.Status.InitializedSpec != "") {
		return has
	}
	return policy.Older(a, b)
}

// counts reports whether a Repository holds a directory of a storage, or could hold it.
func counts(
	ctx context.Context, reader client.Reader, storage *v1alpha1.BackupStorage, cluster string,
	r *v1alpha1.Repository,
) (bool, error) {
	if _, err := layout.NormalizeDirectory(r.Spec.Path); err != nil {
		return false, nil
	}
	if policy.KeepsIn(r, storage) {
		return true, nil
	}
	err := access.AllowedRepository(ctx, reader, storage, cluster, r)
	if _, _, refused := access.ReasonOf(err); refused || apierrors.IsNotFound(err) { // its Namespace is gone
		return false, nil
	}
	return err == nil, err
}

// Taken explains which Repository keeps r from its directory. The caller appends what to do.
func Taken(r, elder *v1alpha1.Repository) string {
	name := elder.Namespace + "/" + elder.Name
	if DirectoryKeys(r)[0] == DirectoryKeys(elder)[0] {
		return fmt.Sprintf("Repository %s has this directory already", name)
	}
	return fmt.Sprintf("Repository %s has the directory %q already, and one can't lie in another", name,
		elder.Spec.Path)
}
