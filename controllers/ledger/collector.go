package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
)

const (
	// batchSize is the number of ended objects at which the batch window ends early.
	batchSize = 200
	// fullRetry is the delay after which objects look again for room in an outbox that was full or refused. After it, a
	// failed release is tried again while others wait.
	fullRetry = 30 * time.Second
)

// Collector writes the records of ended BackupSessions, RestoreSessions and RestoreBatches, and of removed Snapshots,
// into the outboxes of all matching Ledgers. It then removes FinalizerRecord from the objects. It keeps no state that
// matters: the batch window starts when the first object ended.
type Collector struct {
	client.Client
	// APIReader is not cached.
	APIReader     client.Reader
	EventRecorder record.EventRecorder
	Clock         clock.PassiveClock
	Outbox        *Outbox
	// Administrators are the namespaces whose Ledgers record others without their consent.
	Administrators policy.Administrators
	// FieldManager owns all writes.
	FieldManager string

	// full is when the outboxes of Ledgers were found full.
	full map[types.UID]time.Time
	// refused is when, and how, the API server last refused the outboxes of Ledgers.
	refused map[types.UID]refusal
	// unwritten is what this pass could not write, by Ledger.
	unwritten map[types.UID]*unwritten
}

func (c *Collector) writer() status.Writer {
	return status.Writer{Client: c.Client, Events: c.EventRecorder, Owner: c.FieldManager}
}

// Reconcile collects all pending objects. The request is always the same.
func (c *Collector) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	pending, err := c.pending(ctx)
	if err == nil && len(pending) > 0 {
		err = c.match(ctx, c.Client, pending)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	c.unwritten = nil
	result, seen, err := c.pass(ctx, pending)
	if seen && ctx.Err() == nil {
		c.Outbox.report(c.unwritten, c.Clock.Now())
	}
	return result, err
}

// pass stores or releases what is pending as soon as it can. seen reports that it got so far that the Collector knows
// what can't be written.
func (c *Collector) pass(ctx context.Context, pending []*ended) (result ctrl.Result, seen bool, err error) {
	unwanted, waiting := wanted(pending)
	wait, held := c.window(waiting), false
	if wait <= 0 {
		all := len(pending)
		pending = c.withRoom(ctx, pending)
		held = len(pending) < all
		unwanted, waiting = wanted(pending)
		wait = c.window(waiting)
	}
	// The cache can lack a Ledger, or a label of a Namespace. What is released now gets no record later. What goes on
	// waiting is not looked for.
	if wait > 0 && len(unwanted) > 0 {
		if err := c.match(ctx, c.APIReader, unwanted); err != nil {
			return ctrl.Result{}, false, err
		}
		unwanted, waiting = wanted(pending)
		wait = c.window(waiting)
	}
	if wait <= 0 && len(pending) > 0 {
		if err := c.match(ctx, c.APIReader, pending); err != nil {
			return ctrl.Result{}, false, err
		}
		unwanted, waiting = wanted(pending)
		wait = c.window(waiting)
	}
	result, err = c.collect(ctx, unwanted, waiting, wait, held)
	return result, true, err
}

// collect releases what no Ledger wants, and stores what waits unless its window is open. held reports that more waits
// for room in an outbox.
func (c *Collector) collect(
	ctx context.Context, unwanted, waiting []*ended, wait time.Duration, held bool,
) (ctrl.Result, error) {
	var errs []error
	for _, e := range unwanted {
		errs = append(errs, c.releaseUnwanted(ctx, e))
	}
	if wait > 0 {
		if failed := logFaults(ctx, errs); held || failed {
			wait = min(wait, fullRetry)
		}
		logf.FromContext(ctx).V(1).Info("waits for more records", "records", len(waiting), "after", wait.String())
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	for batch := range slices.Chunk(waiting, batchSize) {
		some, err := c.store(ctx, batch)
		held = held || some
		errs = append(errs, err)
	}
	if held {
		logFaults(ctx, errs)
		logf.FromContext(ctx).V(1).Info("waits, because an outbox is full or refused", "after", fullRetry.String())
		return ctrl.Result{RequeueAfter: fullRetry}, nil
	}
	return ctrl.Result{}, kerrors.NewAggregate(errs)
}

// logFaults logs what failed beside objects that wait, and reports whether anything did. controller-runtime ignores
// RequeueAfter beside an error, and the backoff of an object that can't be released or stored must not hold up the
// others.
func logFaults(ctx context.Context, errs []error) bool {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return false
	}
	const shown = 3
	logf.FromContext(ctx).Error(kerrors.NewAggregate(errs[:min(len(errs), shown)]), "store or release records",
		"faults", len(errs))
	return true
}

// noLedgers reports whether Ledgers can't be listed because their kind is gone: then nothing is to be recorded. What is
// left of an uninstall would wait for ever otherwise.
func (c *Collector) noLedgers(ctx context.Context, err error) (bool, error) {
	if !apierrors.IsNotFound(err) {
		return false, nil
	}
	return read.KindGone(ctx, c.APIReader, &v1alpha1.Ledger{})
}

// wanted splits what is pending into the objects that no Ledger wants any more, and the others.
func wanted(pending []*ended) (unwanted, waiting []*ended) {
	for _, e := range pending {
		if len(e.ledgers) == 0 && !e.undecided {
			unwanted = append(unwanted, e)
		} else {
			waiting = append(waiting, e)
		}
	}
	return unwanted, waiting
}

// match finds the Ledgers of each object, as the reader knows them: the Ledgers that record the object and do not have
// its record yet. It also notes a Ledger that would record the object if it were not being deleted.
func (c *Collector) match(ctx context.Context, reader client.Reader, pending []*ended) error {
	for _, e := range pending {
		e.ledgers, e.going, e.undecided = nil, nil, false
	}
	var list v1alpha1.LedgerList
	if err := reader.List(ctx, &list); err != nil {
		if gone, unknown := c.noLedgers(ctx, err); !gone {
			return errors.Join(fmt.Errorf("list Ledgers: %w", err), unknown)
		}
	}
	namespaces := namespaces{read.NewNamespaceLabels(reader)}
	surplus := ledger.Surplus(list.Items, c.Administrators.Has)
	for i := range list.Items {
		l := &list.Items[i]
		if v1alpha1.HasRecordAnnotation(l.Annotations) || surplus[l.UID] {
			continue
		}
		// The Reconciler reports an unreadable selector on the Ledger. Until it is corrected, the Ledger can match each
		// object that its other selector matches. Those of its own namespace wait for that, so that they do not lose
		// their record over a slip, and so do all if it is the administrators'. Otherwise those of other namespaces do
		// not wait: no tenant is to hold them up with a mistake elsewhere.
		m, unreadable := newMatcher(l, c.Administrators)
		for _, e := range pending {
			if !m.sessions.Matches(labelsOf(e.object)) || e.committedBy(m.name()) ||
				unreadable != nil && e.object.GetNamespace() != l.Namespace && !c.Administrators.Has(l.Namespace) {
				continue
			}
			ok, err := namespaces.recordedBy(ctx, m.scope, e.object.GetNamespace())
			if err != nil {
				return err
			}
			switch {
			case ok && !v1alpha1.InForce(l):
				e.going = l
			case ok && unreadable != nil:
				e.undecided = true
			case ok:
				e.ledgers = append(e.ledgers, l)
			}
		}
	}
	return nil
}

// window returns how long the batch window stays open.
func (c *Collector) window(waiting []*ended) time.Duration {
	if len(waiting) == 0 || len(waiting) >= batchSize {
		return 0
	}
	wait, now := time.Duration(math.MaxInt64), c.Clock.Now()
	for _, e := range waiting {
		if e.urgent {
			return 0
		}
		for _, l := range e.ledgers {
			window := l.Spec.BatchWindow.Duration
			wait = min(wait, run.Left(e.at.Add(window), window, now))
		}
	}
	if wait == math.MaxInt64 {
		return 0 // nobody knows the Ledgers of any object
	}
	return wait
}

// unique keeps each message once: every member of a batch can have the same error.
func unique(errs []error) []error {
	seen := map[string]bool{}
	return slices.DeleteFunc(errs, func(err error) bool {
		if err == nil || seen[err.Error()] {
			return true
		}
		seen[err.Error()] = true
		return false
	})
}
