package policysync

import (
	"crypto/sha256"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
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
