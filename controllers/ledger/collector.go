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
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
)

const (
	// batchSize is the number of ended objects at which the batch window ends early.
	batchSize = 200
	// fullRetry is the delay after which objects look again for room in a full outbox.
	fullRetry = 30 * time.Second
)

// Collector writes the records of ended BackupSessions, RestoreSessions and RestoreBatches, and of removed Snapshots,
// into the outboxes of all matching Ledgers. It then removes FinalizerRecord from the objects. It keeps no state: the
// batch window starts when the first object ended.
type Collector struct {
	client.Client
	// APIReader is not cached.
	APIReader     client.Reader
	EventRecorder record.EventRecorder
	Clock         clock.PassiveClock
	Outbox        *Outbox
	// FieldManager owns all writes.
	FieldManager string
}

func (c *Collector) writer() status.Writer {
	return status.Writer{Client: c.Client, Events: c.EventRecorder, Owner: c.FieldManager}
}

// Reconcile collects all pending objects. The request is always the same.
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
		logf.FromContext(ctx).V(1).Info("waits for more records", "records", len(waiting), "after", wait.String())
		return ctrl.Result{RequeueAfter: wait}, kerrors.NewAggregate(errs)
	}
	held := false
	for batch := range slices.Chunk(waiting, batchSize) {
		some, err := c.store(ctx, batch)
		held = held || some
		errs = append(errs, err)
	}
	if held {
		logf.FromContext(ctx).V(1).Info("waits, because the outbox is full", "after", fullRetry.String())
		return ctrl.Result{RequeueAfter: fullRetry}, kerrors.NewAggregate(errs)
	}
	return ctrl.Result{}, kerrors.NewAggregate(errs)
}

// match finds the Ledgers of each object: the Ledgers that record the object and do not have its record yet.
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
		if err != nil {
			// The Reconciler reports the error on the Ledger. Until it is corrected, the Ledger can match any object.
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

// window returns how long the batch window stays open.
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

// store writes the records of a batch and releases each object whose record is in all its outboxes. held reports that
// an object was not released because an outbox is full or a selector can't be read.
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
			c.warn(ctx, members[l], l,
				"the namespace of Ledger %s is being deleted: the Ledger does not get the record")
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
		case c.givenUp(e, why): // a Ledger must not block the deletion of a namespace
			c.warn(ctx, []*ended{e}, nil, "deleted without a record: "+whyNone(why))
			errs = append(errs, c.release(ctx, e))
		case errors.Is(why, errFull), errors.Is(why, errUndecided):
			held = true
		default:
			errs = append(errs, why)
		}
	}
	return held, kerrors.NewAggregate(unique(errs))
}

// errUndecided means that nobody knows whether a Ledger wants the record, because its selector can't be read.
var errUndecided = errors.New("the selector of a Ledger can't be read")

// whyNone returns the reason, for an event, why there is no record. The API server's error belongs in the log.
func whyNone(why error) string {
	if errors.Is(why, errUndecided) {
		return errUndecided.Error()
	}
	return "the outbox has no room for it"
}

// givenUp reports whether an object that is being deleted goes without its record: at once if the outbox is full or the
// selector of a Ledger can't be read, after giveUpAfter if the record can't be written for another reason.
func (c *Collector) givenUp(e *ended, why error) bool {
	return e.urgent && (errors.Is(why, errFull) || errors.Is(why, errUndecided) ||
		c.Clock.Now().Sub(e.object.GetDeletionTimestamp().Time) > giveUpAfter)
}

// errGone means that the namespace of a Ledger takes no more objects.
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
		return fmt.Errorf("write record for Ledger %s: %w", ledgerName(l), err)
	}
	return nil
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
