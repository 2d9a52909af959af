package testbed

import (
	"fmt"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// Events is an EventRecorder that keeps all events. The zero value is ready to use. It is safe for concurrent use.
type Events struct {
	mu       sync.Mutex
	messages map[string][]string
}

// Event keeps "<type> <reason> <message>" under the object's namespace.
func (e *Events) Event(object runtime.Object, kind, reason, message string) {
	namespace := ""
	if accessor, err := meta.Accessor(object); err == nil {
		namespace = accessor.GetNamespace()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.messages == nil {
		e.messages = map[string][]string{}
	}
	e.messages[namespace] = append(e.messages[namespace], kind+" "+reason+" "+message)
}

// Eventf is Event with a format.
func (e *Events) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	e.Event(object, kind, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf is Eventf. It drops the annotations.
func (e *Events) AnnotatedEventf(object runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	e.Eventf(object, kind, reason, format, args...)
}

// Of returns the events of objects of a namespace, in order.
func (e *Events) Of(namespace string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.messages[namespace]...)
}

// Eventually fails the test unless the events of a namespace match in time. A controller emits an event after the write
// that the test has seen.
func (e *Events) Eventually(t testing.TB, namespace string, want types.GomegaMatcher) {
	t.Helper()
	NewWithT(t).Eventually(func() []string { return e.Of(namespace) }, Patience, Interval).Should(want)
}
