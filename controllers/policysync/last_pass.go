package policysync

import (
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/source"
)

// lastPass is a pass of this process that is not needed again for the same input. A new process knows none and starts
// with a pass.
type lastPass struct {
	uid        types.UID
	at         time.Time
	revision   string
	trust      string // the trusted keys
	generation int64
	conditions []metav1.Condition
	// foreign is the object of somebody else that the pass failed on, if any.
	foreign *key
	// awaits is the consent that the pass lacked, if any.
	awaits string
}

// appliedRevision is a revision that a pass of this process applied. at is when it was last compared with the cluster.
type appliedRevision struct {
	uid        types.UID
	at         time.Time
	revision   source.Revision
	generation int64
}

// restore sets the conditions of the pass again, after a fault of the Git server had replaced them.
func (p lastPass) restore(obj *v1alpha1.PolicySync) {
	keep := map[string]bool{}
	for i := range p.conditions {
		keep[p.conditions[i].Type] = true
		conditions.Set(obj, p.conditions[i].DeepCopy())
	}
	for _, c := range obj.GetConditions() {
		if !keep[c.Type] {
			conditions.Delete(obj, c.Type)
		}
	}
}

// store holds what this process knows of each PolicySync. Its zero value is ready for use, also concurrently. Stored
// values must not be changed. A lost value costs only repeated work.
type store[T any] struct {
	mu     sync.Mutex
	values map[types.NamespacedName]T
}

func (s *store[T]) get(of types.NamespacedName) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[of]
	return value, ok
}

func (s *store[T]) put(of types.NamespacedName, value T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[types.NamespacedName]T{}
	}
	s.values[of] = value
}

func (s *store[T]) forget(of types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, of)
}
