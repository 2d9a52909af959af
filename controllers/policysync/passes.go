package policysync

import (
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// pass is a pass that this process made and that need not be made again for the same input. A new process knows of none
// and starts with a pass.
type pass struct {
	uid        types.UID
	at         time.Time
	revision   string
	generation int64
	conditions []metav1.Condition
}

// restore says about the object again what the pass said, after a fault of the Git server said something else.
func (p pass) restore(obj *v1alpha1.PolicySync) {
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

// passes are the last passes by object. Its zero value is ready for use, also concurrently.
type passes struct {
	mu   sync.Mutex
	last map[types.NamespacedName]pass
}

func (p *passes) get(key types.NamespacedName) (pass, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.last[key]
	return last, ok
}

func (p *passes) put(key types.NamespacedName, value pass) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[types.NamespacedName]pass{}
	}
	p.last[key] = value
}

func (p *passes) forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, key)
}
