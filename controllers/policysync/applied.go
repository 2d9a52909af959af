package policysync

import (
	"crypto/sha256"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cairn-backup/cairn/internal/managedfields"
)

// fingerprint identifies the state of an object in the cluster for which a dry run or an apply had nothing to do.
type fingerprint struct {
	wanted  [sha256.Size]byte // digest of the applied object
	uid     types.UID
	version string // generation, or the resource version of kinds without a generation
}

func fingerprintOf(wanted [sha256.Size]byte, live metav1.Object) fingerprint {
	f := fingerprint{wanted: wanted, uid: live.GetUID(), version: live.GetResourceVersion()}
	// A status write changes the resource version but not the generation. A kind without a generation has no status
	// that others write.
	if g := live.GetGeneration(); g != 0 {
		f.version = "generation " + strconv.FormatInt(g, 10)
	}
	return f
}

// unchanged reports whether an apply would do nothing: the same was applied to this object before, and neither its spec
// nor our metadata has changed since. Without this, each pass would cost a dry run for each object.
func (f fingerprint) unchanged(wanted [sha256.Size]byte, u, live *unstructured.Unstructured) bool {
	return live != nil && f == fingerprintOf(wanted, live) &&
		contains(live.GetLabels(), u.GetLabels()) && contains(live.GetAnnotations(), u.GetAnnotations())
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

var (
	backendsField  = fieldpath.MakePathOrDie("spec", "backends")
	pausedField    = fieldpath.MakePathOrDie("spec", "paused")
	retentionField = fieldpath.FieldNameElement("retentionPolicy")
)

// addedToPolicy returns which fields of a BackupConfiguration or BackupBatch stay with the person who added them:
// paused, and the RetentionPolicy of a backend. Without them new backups begin, or the default RetentionPolicy applies,
// and old backups go. The reference to a RetentionPolicy stays or goes whole: with a name of Git, the namespace of a
// person would be that of another policy. A backend that Git drops, or does not have beside its own, goes with its
// policy: a second backend would change what the repositories in Git mean that name none. If Git leaves all backends to
// defaults, one with a RetentionPolicy stays.
func addedToPolicy(wanted, have *unstructured.Unstructured) managedfields.Stays {
	return func(field fieldpath.Path, applied *fieldpath.Set) bool {
		n := len(backendsField)
		switch {
		case applied.Has(field):
			return false
		case len(field) <= n || !field[:n].Equals(backendsField):
			return field.Equals(pausedField)
		case !applied.Has(field[:n+1]) && !hasBackends(wanted):
			return namesRetention(backendOf(have, field[n]))
		case len(field) == n+1 || !field[n+1].Equals(retentionField):
			return false
		}
		backend := backendOf(wanted, field[n])
		return backend != nil && !namesRetention(backend) && managedfields.Added(field[:n+2], applied)
	}
}

// namesRetention reports whether a backend names a RetentionPolicy.
func namesRetention(backend map[string]any) bool { return backend[*retentionField.FieldName] != nil }

// hasBackends reports whether a BackupConfiguration or BackupBatch has backends.
func hasBackends(u *unstructured.Unstructured) bool {
	backends, _, _ := unstructured.NestedSlice(u.Object, "spec", "backends")
	return len(backends) > 0
}

// backendOf returns the backend of a BackupConfiguration or BackupBatch that an element of a path names, or nil.
func backendOf(u *unstructured.Unstructured, element fieldpath.PathElement) map[string]any {
	backends, _, _ := unstructured.NestedSlice(u.Object, "spec", "backends")
	for _, b := range backends {
		backend, _ := b.(map[string]any)
		name, _ := backend["name"].(string) // it can be left out
		if backend != nil && element.Equals(fieldpath.PathElement{Key: fieldpath.KeyByFields("name", name)}) {
			return backend
		}
	}
	return nil
}
