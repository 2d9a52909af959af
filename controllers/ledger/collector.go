package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

const (
	// batchSize is the number of ended objects at which the batch window ends early.
	batchSize = 200
	// fullRetry is how long objects wait for room in a full outbox before the next look.
	fullRetry = 30 * time.Second
)

// Collector writes the records of ended BackupSessions, RestoreSessions and RestoreBatches, and of removed Snapshots, into the outboxes of all matching Ledgers and
// then takes FinalizerRecord from them. It keeps no state: the batch window starts when the first object ended.
type Collector struct {
	client.Client
	// APIReader is uncached.
	APIReader     client.Reader
	EventRecorder record.EventRecorder
	Clock         clock.PassiveClock
	Outbox        *Outbox
	// FieldManager owns what is written.
	FieldManager string
}

// Reconcile collects everything that waits. The request is always the same.
func (c *Collector) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	pending, err := c.pending(ctx)
	if err != nil || len(pending) == 0 {
		return ctrl.Result{}, err
	}
	if err := c.match(ctx, pending); err != nil {
		return ctrl.Result{}, err
	}
	var waiting []*ended
	var errs []error
	for _, e := range pending {
		if len(e.ledgers) == 0 && !e.undecided {
			errs = append(errs, c.release(ctx, e))
			continue
		}
		waiting = append(waiting, e)
	}
	if wait := c.window(waiting); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, kerrors.NewAggregate(errs)
	}
	held := false
	for batch := range slices.Chunk(waiting, batchSize) {
		some, err := c.store(ctx, batch)
		held = held || some
		errs = append(errs, err)
	}
	if held {
		return ctrl.Result{RequeueAfter: fullRetry}, kerrors.NewAggregate(errs)
	}
	return ctrl.Result{}, kerrors.NewAggregate(errs)
}

// match finds the Ledgers of each object: those that record it and do not have it yet.
func (c *Collector) match(ctx context.Context, pending []*ended) error {
	var list v1alpha1.LedgerList
	if err := c.List(ctx, &list); err != nil {
		return fmt.Errorf("list Ledgers: %w", err)
	}
	namespaces := namespaceLabels{client: c.Client}
	for i := range list.Items {
		l := &list.Items[i]
		if l.DeletionTimestamp != nil || v1alpha1.HasRecordAnnotation(l.Annotations) {
			continue
		}
		m, err := newMatcher(l)
		if err != nil { // the Reconciler says so on the Ledger; until it is mended, it may mean any object
			for _, e := range pending {
				e.undecided = true
			}
			continue
		}
		for _, e := range pending {
			if !m.sessions.Matches(labelsOf(e.object)) || e.recordedBy(m.name()) {
				continue
			}
			ok, err := namespaces.matches(ctx, m.namespaces, e.object.GetNamespace())
			if err != nil {
				return err
			}
			if ok {
				e.ledgers = append(e.ledgers, l)
			}
		}
	}
	return nil
}

// window is how long to go on gathering.
func (c *Collector) window(waiting []*ended) time.Duration {
	if len(waiting) == 0 || len(waiting) >= batchSize {
		return 0
	}
	var end time.Time
	for _, e := range waiting {
		if e.urgent {
			return 0
		}
		for _, l := range e.ledgers {
			if t := e.at.Add(l.Spec.BatchWindow.Duration); end.IsZero() || t.Before(end) {
				end = t
			}
		}
	}
	return end.Sub(c.Clock.Now())
}

// store writes the records of a batch and releases what is in every outbox it belongs to. Held says that some were not
// released, because an outbox is full.
func (c *Collector) store(ctx context.Context, batch []*ended) (held bool, err error) {
	var ledgers []*v1alpha1.Ledger
	members := map[*v1alpha1.Ledger][]*ended{}
	for _, e := range batch {
		for _, l := range e.ledgers {
			if members[l] == nil {
				ledgers = append(ledgers, l)
			}
			members[l] = append(members[l], e)
		}
	}
	blocked := map[*ended]error{}
	for _, l := range ledgers {
		err := c.storeFor(ctx, l, members[l])
		if errors.Is(err, errGone) {
			c.warn(members[l], l, "the namespace of Ledger %s is being deleted: it does not get the record")
			continue
		}
		for _, e := range members[l] {
			blocked[e] = errors.Join(blocked[e], err)
		}
		if errors.Is(err, errFull) {
			c.Outbox.notify(l)
		}
	}
	var errs []error
	for _, e := range batch {
		why := blocked[e]
		if why == nil && e.undecided {
			why = errUndecided
		}
		switch {
		case why == nil:
			errs = append(errs, c.release(ctx, e))
		case c.givenUp(e, why): // a Ledger must not keep a namespace from going
			c.warn([]*ended{e}, nil, "deleted without a record: "+whyNone(why))
			errs = append(errs, c.release(ctx, e))
		case errors.Is(why, errFull), errors.Is(why, errUndecided):
			held = true
		default:
			errs = append(errs, why)
		}
	}
	return held, kerrors.NewAggregate(unique(errs))
}

// errUndecided says that a Ledger has a selector that cannot be read, so that nobody knows whether it wants the record.
var errUndecided = errors.New("the selector of a Ledger cannot be read")

// whyNone says in an event why there is no record. What the API server said is for the log.
func whyNone(why error) string {
	if errors.Is(why, errUndecided) {
		return errUndecided.Error()
	}
	return "the outbox takes none"
}

// givenUp says whether an object that is being deleted goes without its record: at once when the outbox is full or the
// selector of a Ledger cannot be read, after a while when the record cannot be written for another reason.
func (c *Collector) givenUp(e *ended, why error) bool {
	return e.urgent && (errors.Is(why, errFull) || errors.Is(why, errUndecided) || c.Clock.Now().Sub(e.object.GetDeletionTimestamp().Time) > giveUpAfter)
}

// errGone says that a Ledger's namespace takes no more objects.
var errGone = errors.New("namespace is being deleted")

func (c *Collector) storeFor(ctx context.Context, l *v1alpha1.Ledger, members []*ended) error {
	records := make([]ledger.Record, 0, len(members))
	for _, e := range members {
		r, err := c.build(ctx, l.Spec.ClusterName, e)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	err := c.Outbox.add(ctx, l, records)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) {
		return errGone
	}
	if err != nil {
		return fmt.Errorf("record for Ledger %s: %w", ledgerName(l), err)
	}
	return nil
}

// unique drops what is said of every member of a batch but once.
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
