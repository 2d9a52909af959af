// Package logs makes the log of the manager tell what Cairn does: which object a line is about, under the same key
// everywhere, and each object that is created or deleted. All functions are safe for concurrent use.
package logs

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Key returns the key under which logs name an object of the kind: "BackupSession" becomes "backupSession".
func Key(kind string) string {
	if kind == "" {
		return "object"
	}
	return strings.ToLower(kind[:1]) + kind[1:]
}

// Constructor returns a function that makes the logger of each request of a controller: it names the object of the
// request under the key of the kind. What the controller logs without a request, such as each watch that it starts, is
// for debugging; errors are not.
func Constructor(base logr.Logger, controller, kind string) func(*reconcile.Request) logr.Logger {
	base = base.WithValues("controller", controller)
	return func(req *reconcile.Request) logr.Logger {
		if req == nil {
			return base.V(1)
		}
		return base.WithValues(Key(kind), klog.KRef(req.Namespace, req.Name))
	}
}

// WithReason returns a context whose log lines have the reason: why an object is deleted.
func WithReason(ctx context.Context, reason string) context.Context {
	return logf.IntoContext(ctx, logf.FromContext(ctx).WithValues("reason", reason))
}

// DecidesAgain logs at V(1) that a reconcile begins again, because an object has changed since it was read.
func DecidesAgain(ctx context.Context, conflict error) {
	logf.FromContext(ctx).V(1).Info("decides again, because the object changed meanwhile", "conflict", conflict.Error())
}

// CacheIsBehind logs at V(1) that a reconcile begins again, because the API server knows more than the cache.
func CacheIsBehind(ctx context.Context, keys ...any) {
	logf.FromContext(ctx).V(1).Info("decides again, because the cache is behind", keys...)
}

// AfterFault logs at V(1) what comes after a fault: another try, or, if only a person can mend the fault, a look for a
// change.
func AfterFault(ctx context.Context, reason string, stalled bool, after time.Duration) {
	log := logf.FromContext(ctx).WithValues("reason", reason, "after", after.String())
	if stalled {
		log.V(1).Info("looks for a change")
		return
	}
	log.V(1).Info("tries again")
}

// Once remembers lines that must be logged once, although each look at their object finds them again. It remembers the
// lines of the 4,096 objects that logged last, and none after a restart. The zero value is ready for use. Once is safe
// for concurrent use.
type Once struct {
	mu     sync.Mutex
	logged *lru.Cache // of sets of lines, by the UID of their object
}

const remembered = 4096

// Has reports whether a line of an object was logged: whether First was called with both.
func (o *Once) Has(of types.UID, line string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines(of).Has(line)
}

// First reports whether it is asked about a line of an object for the first time.
func (o *Once) First(of types.UID, line string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := o.lines(of)
	if lines.Has(line) {
		return false
	}
	if lines == nil {
		lines = sets.New[string]()
		o.logged.Add(of, lines)
	}
	lines.Insert(line)
	return true
}

// Forget forgets the lines of an object.
func (o *Once) Forget(of types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.logged != nil {
		o.logged.Remove(of)
	}
}

// lines returns the lines of an object; nil if there are none.
func (o *Once) lines(of types.UID) sets.Set[string] {
	if o.logged == nil {
		o.logged = lru.New(remembered)
	}
	lines, _ := o.logged.Get(of)
	logged, _ := lines.(sets.Set[string])
	return logged
}

// BeingDeleted logs at V(1) that nothing is left to be done for an object that is being deleted.
func BeingDeleted(ctx context.Context, keys ...any) {
	logf.FromContext(ctx).V(1).Info("nothing to do: the object is being deleted", keys...)
}

// LeavesRecord reports whether o is a record, which is for people to read: controllers leave it alone. It logs at V(1)
// that nothing is to be done.
func LeavesRecord(ctx context.Context, o client.Object) bool {
	if !v1alpha1.HasRecordAnnotation(o.GetAnnotations()) {
		return false
	}
	logf.FromContext(ctx).V(1).Info("nothing to do: the object was applied from a record")
	return true
}

// NewClient returns a client that works like c, and logs each object that it creates or deletes. Package apply
// logs objects that are applied: it knows whether they existed before.
func NewClient(c client.Client) client.Client { return writer{c} }

type writer struct{ client.Client }

// Create creates the object, unless the options ask for a dry run, and logs that.
func (w writer) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	err := w.Client.Create(ctx, o, opts...)
	if options := (&client.CreateOptions{}).ApplyOptions(opts); err == nil && len(options.DryRun) == 0 {
		w.logger(ctx, o).Info("created")
	}
	return err
}

// Delete deletes the object, unless the options ask for a dry run, and logs that. It logs nothing for an object whose
// deletion has begun: the API server accepts that again and again, as long as a finalizer keeps the object.
func (w writer) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	begun := !o.GetDeletionTimestamp().IsZero()
	err := w.Client.Delete(ctx, o, opts...)
	if options := (&client.DeleteOptions{}).ApplyOptions(opts); err == nil && !begun && len(options.DryRun) == 0 {
		w.logger(ctx, o).Info("deleted")
	}
	return err
}

// logger returns a logger that names the object under its kind.
func (w writer) logger(ctx context.Context, o client.Object) logr.Logger {
	kind := "object"
	if gvk, err := w.GroupVersionKindFor(o); err == nil {
		kind = gvk.Kind
	}
	return logf.FromContext(ctx).WithValues(Key(kind), klog.KObj(o))
}
