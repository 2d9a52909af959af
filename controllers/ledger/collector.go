package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
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
