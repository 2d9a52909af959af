package policysync

import (
	"crypto/sha256"
	"encoding/json"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// fingerprint is the state of an object of the cluster in which a dry run or an apply left nothing to do.
type fingerprint struct {
	wanted  [sha256.Size]byte // what was applied
	uid     types.UID
	version string // generation, or the resource version of kinds without one
}

// fingerprintOf returns none for what can't be told.
func fingerprintOf(wanted [sha256.Size]byte, live *unstructured.Unstructured) fingerprint {
	f := fingerprint{wanted: wanted, uid: live.GetUID()}
	// Status changes the resource version all the time, but not the generation; where there is no generation there is no
	// status that others write.
	if g, ok, _ := unstructured.NestedFieldNoCopy(live.Object, "metadata", "generation"); ok {
		text, _ := json.Marshal(g)
		f.version = "generation " + string(text)
	} else {
		f.version = live.GetResourceVersion()
	}
	return f
}

// digestOfObject identifies what is to be applied.
func digestOfObject(u *unstructured.Unstructured) ([sha256.Size]byte, error) {
	data, err := json.Marshal(u.Object)
	return sha256.Sum256(data), err
}

// unchanged says that an apply would do nothing: the same was applied to this object before, and neither its spec nor our
// metadata changed since. Without that, each pass costs a dry run for each object.
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

// memory holds the fingerprints of what each PolicySync applied. Its zero value is ready for use, also concurrently. To
// forget costs dry runs and nothing else.
type memory struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]map[key]fingerprint
}

func (m *memory) get(of types.NamespacedName) map[key]fingerprint {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.objects[of]
}

// put replaces what is known; the map must not be changed any more.
func (m *memory) put(of types.NamespacedName, objects map[key]fingerprint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		m.objects = map[types.NamespacedName]map[key]fingerprint{}
	}
	m.objects[of] = objects
}

func (m *memory) forget(of types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, of)
}
