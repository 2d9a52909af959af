package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// store writes the records of a batch and releases each object whose record is in all its outboxes. held reports that
// an object was not released because an outbox is full or refused, or a selector can't be read.
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
		c.storeOrSay(ctx, l, members[l], blocked)
	}
	var errs []error
	for _, e := range batch {
		why := blocked[e]
		if why == nil && e.undecided {
			why = errUndecided
		}
		switch {
		case why == nil:
			_, err := c.release(ctx, e)
			errs = append(errs, err)
		case c.givenUp(e, why): // a Ledger must not block the deletion of a namespace
			c.warn(ctx, []*ended{e}, nil, "deleted without a record: "+whyNone(why))
			_, err := c.release(ctx, e)
			errs = append(errs, err)
		case errors.Is(why, errFull), errors.Is(why, errUndecided), denied(why):
			held = true
		default:
			errs = append(errs, why)
		}
	}
	return held, kerrors.NewAggregate(unique(errs))
}

// storeOrSay writes the records of the members into the outbox of a Ledger. It notes what it could not write, and adds
// to blocked why.
func (c *Collector) storeOrSay(
	ctx context.Context, l *v1alpha1.Ledger, members []*ended, blocked map[*ended]error,
) {
	failed := c.storeFor(ctx, l, members)
	full := false
	for _, e := range members {
		switch err := failed[e]; {
		case err == nil:
		case errors.Is(err, errGone):
			c.warn(ctx, []*ended{e}, l,
				"the namespace of Ledger %s is being deleted: the Ledger does not get the record")
		case errors.Is(err, errFull):
			blocked[e], full = errors.Join(blocked[e], err), true
		default:
			c.cannotWrite(l, e, err)
			blocked[e] = errors.Join(blocked[e], fmt.Errorf("write record for Ledger %s: %w", ledgerName(l), err))
		}
	}
	if full {
		c.markFull(l)
		c.Outbox.notify(l)
	}
}

// cannotWrite notes that a record can't be written into the outbox of a Ledger.
func (c *Collector) cannotWrite(l *v1alpha1.Ledger, e *ended, err error) {
	u := c.unwritten[l.UID]
	if u == nil {
		u = &unwritten{ledger: l, oldest: e.at}
		if c.unwritten == nil {
			c.unwritten = map[types.UID]*unwritten{}
		}
		c.unwritten[l.UID] = u
	}
	u.records, u.err = u.records+1, err
	if e.at.Before(u.oldest) {
		u.oldest = e.at
	}
}

// refusal is an answer of the API server that it gives to each record.
type refusal struct {
	at  time.Time
	err error
}

// refusing returns why a Ledger takes no record: the API server has refused its outbox a moment ago.
func (c *Collector) refusing(l *v1alpha1.Ledger) error {
	was, known := c.refused[l.UID]
	if !known {
		return nil
	}
	if age := c.Clock.Now().Sub(was.at); age < 0 || age >= fullRetry {
		delete(c.refused, l.UID)
		return nil
	}
	return was.err
}

// denied reports whether the API server refuses what was asked for: a quota, an admission webhook or an admission
// policy is against it, or the manager lacks the right.
func denied(err error) bool { return movers.Refused(err) || movers.RefusedForNow(err) }

// markFull remembers that the outbox of a Ledger is full.
func (c *Collector) markFull(l *v1alpha1.Ledger) {
	if c.full == nil {
		c.full = map[types.UID]time.Time{}
	}
	c.full[l.UID] = c.Clock.Now()
}

// withRoom leaves out objects that can be neither stored nor released: all their outboxes were full or refused a moment
// ago, and still are, or nobody knows their Ledgers. Each run that ends wakes the Collector: it must not read their
// Namespaces past the cache, and build their records, each time.
func (c *Collector) withRoom(ctx context.Context, pending []*ended) (out []*ended) {
	known := map[types.UID]bool{}
	isFull := func(l *v1alpha1.Ledger) bool {
		age := c.Clock.Now().Sub(c.full[l.UID])
		if age < 0 || age >= fullRetry {
			delete(c.full, l.UID)
			return false
		}
		full, ok := known[l.UID]
		if !ok {
			parcels, err := c.Outbox.all(ctx, l)
			full = err == nil && size(parcels) >= maxParcels // the attempt to store reports the error
			known[l.UID] = full
		}
		return full
	}
	for _, e := range pending {
		hasRoom := func(l *v1alpha1.Ledger) bool { return c.refusing(l) == nil && (e.urgent || !isFull(l)) }
		if len(e.ledgers) == 0 && (e.urgent || !e.undecided) || slices.ContainsFunc(e.ledgers, hasRoom) {
			out = append(out, e)
			continue
		}
		for _, l := range e.ledgers {
			if err := c.refusing(l); err != nil {
				c.cannotWrite(l, e, err)
			}
		}
	}
	return out
}

// errUndecided means that nobody knows whether a Ledger wants the record, because its selector can't be read.
var errUndecided = errors.New("the selector of a Ledger can't be read")

// whyNone returns the reason, for an event, why there is no record. The Ledger has the words of the API server.
func whyNone(why error) string {
	switch {
	case errors.Is(why, errUndecided):
		return errUndecided.Error()
	case errors.Is(why, errFull):
		return "the outbox has no room for it"
	default:
		return "it could not be written into the outbox"
	}
}

// givenUp reports whether an object that is being deleted goes without its record: at once if the outbox is full or the
// selector of a Ledger can't be read, after giveUpAfter if the record can't be written for another reason. That counts
// from the deletion, but no earlier than this process knows of the reason: it has tried for as long. A clock that was
// ahead can have dated the deletion.
func (c *Collector) givenUp(e *ended, why error) bool {
	if !e.urgent {
		return false
	}
	if errors.Is(why, errFull) || errors.Is(why, errUndecided) {
		return true
	}
	at, now := e.object.GetDeletionTimestamp().Time, c.Clock.Now()
	for _, l := range e.ledgers {
		if c.unwritten[l.UID] == nil {
			continue
		}
		if since := c.Outbox.unwrittenSince(l, now); since.After(at) || observe.FarAhead(at, now) {
			at = since
		}
	}
	return now.Sub(at) > giveUpAfter
}

// errGone means that the namespace of a Ledger takes no more objects.
var errGone = errors.New("namespace is being deleted")

// storeSize is the size of records, in bytes, that the Collector holds in memory at most, unless one is larger.
const storeSize = 16 << 20

// storeFor writes the records of the members into the outbox of a Ledger, and returns why it could not write some.
func (c *Collector) storeFor(ctx context.Context, l *v1alpha1.Ledger, members []*ended) map[*ended]error {
	failed := map[*ended]error{}
	var some []*ended
	records, bytes := map[*ended][]ledger.Record{}, 0
	for i, e := range members {
		if err := c.refusing(l); err != nil {
			failed[e] = err
			continue
		}
		files, err := c.build(ctx, l.Spec.ClusterName, e)
		if err != nil {
			failed[e] = err
		} else {
			some, records[e] = append(some, e), files
		}
		for _, f := range files {
			bytes += len(f.Content)
		}
		if bytes < storeSize && i < len(members)-1 {
			continue
		}
		c.addEach(ctx, l, some, records, failed)
		some, bytes = nil, 0
		clear(records)
	}
	return failed
}

// refusedInRow is the number of records that the API server refuses, one after the other, after which the Collector
// does not ask for the others: they would be refused, too.
const refusedInRow = 3

// addEach adds records to the outbox of a Ledger: all at once or, if that fails, those of each object alone, so that
// an object whose record can't be written holds up no other.
func (c *Collector) addEach(
	ctx context.Context, l *v1alpha1.Ledger, members []*ended, records map[*ended][]ledger.Record,
	failed map[*ended]error,
) {
	var all []ledger.Record
	for _, e := range members {
		all = append(all, records[e]...)
	}
	err := c.addTo(ctx, l, all)
	if err == nil {
		return
	}
	together := len(members) == 1 || ctx.Err() != nil || errors.Is(err, errFull) || errors.Is(err, errGone)
	inRow, enough := 0, min(refusedInRow, len(members))
	for _, e := range members {
		if together || inRow == enough {
			failed[e] = err
			continue
		}
		if failed[e] = c.addTo(ctx, l, records[e]); denied(failed[e]) {
			inRow, err = inRow+1, failed[e]
		} else {
			inRow = 0
		}
	}
	if denied(err) && (together || inRow == enough) {
		if c.refused == nil {
			c.refused = map[types.UID]refusal{}
		}
		c.refused[l.UID] = refusal{c.Clock.Now(), err}
	}
}

func (c *Collector) addTo(ctx context.Context, l *v1alpha1.Ledger, records []ledger.Record) error {
	err := c.Outbox.add(ctx, l, records)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) {
		gone, read := c.goes(ctx, l.Namespace)
		if gone {
			return errGone
		}
		err = errors.Join(err, read)
	}
	return err
}

// goes reports whether a namespace is being deleted, or is gone. A refused write does not prove it: webhooks and
// proxies before the API server say NotFound, too.
func (c *Collector) goes(ctx context.Context, name string) (bool, error) {
	var namespace corev1.Namespace
	err := c.APIReader.Get(ctx, client.ObjectKey{Name: name}, &namespace)
	switch {
	case err == nil:
		return !namespace.DeletionTimestamp.IsZero(), nil
	case absent(err):
		return true, nil
	}
	return false, fmt.Errorf("get Namespace %s: %w", name, err)
}

// absent reports whether the API server says that an object does not exist. The answer of a proxy before it that knows
// no such address is another one.
func absent(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// releaseUnwanted releases an object that no Ledger wants. It warns once if a Ledger would have recorded the object but
// is being deleted, and no other one has its record.
func (c *Collector) releaseUnwanted(ctx context.Context, e *ended) error {
	released, err := c.release(ctx, e)
	if released && e.going != nil && !e.committed() {
		c.warn(ctx, []*ended{e}, e.going,
			"Ledger %s is being deleted and takes no more records, and no other Ledger records this")
	}
	return err
}

// release removes the finalizer, and changes nothing else of the object. It reports whether it was this call that did.
// The cache is often stale: a Ledger without a batch window pushes, and writes status.records, before the last object
// of a batch is released.
func (c *Collector) release(ctx context.Context, e *ended) (released bool, err error) {
	key, uid := client.ObjectKeyFromObject(e.object), e.object.GetUID()
	released, err = c.writer().Release(ctx, e.object, v1alpha1.FinalizerRecord)
	if apierrors.IsConflict(err) {
		err = status.RetryConflict(ctx, func() error {
			if err := c.APIReader.Get(ctx, key, e.object); err != nil || e.object.GetUID() != uid {
				return err
			}
			released, err = c.writer().Release(ctx, e.object, v1alpha1.FinalizerRecord)
			return err
		})
	}
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("release %s %s: %w", e.kind, key, err)
	}
	return released, nil
}

func (c *Collector) warn(ctx context.Context, members []*ended, l *v1alpha1.Ledger, message string) {
	log := logf.FromContext(ctx)
	if l != nil {
		message = fmt.Sprintf(message, ledgerName(l))
		log = log.WithValues("ledger", klog.KObj(l))
	}
	for _, e := range members {
		log.Info("gave up record", logs.Key(e.kind), klog.KObj(e.object), "message", message)
		c.EventRecorder.Event(e.object, corev1.EventTypeWarning, v1alpha1.ReasonRecordDropped, message)
	}
}
