// Package oneshot reconciles the objects that end once: BackupSessions, RestoreSessions and RestoreBatches.
//
// A Reconciler takes an object as far as possible: it starts it, then observes, asks for a decision, carries the
// decision out and writes the status, until the object has ended. What differs between the kinds is a Kind.
//
// A Reconciler keeps no state but its Pauses, so it is safe for concurrent use. Each of its writes of a one-shot object
// fails with a conflict if the object changed since the decision was made. So an input is frozen only once, and the
// outcome of an ended object never changes.
package oneshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// RetryAfterConflict is how soon a step is repeated after somebody else changed the object first.
const RetryAfterConflict = time.Second

// Object is a pointer to an object that ends once.
type Object[S any] interface {
	*S
	client.Object
	conditions.Getter

	// Ended reports whether the object has its final phase.
	Ended() bool
	// Frozen reports whether status.resolved holds what the object works with.
	Frozen() bool
}

// Kind is what one kind of one-shot objects does in its own way. In is what a decision depends on.
type Kind[S, In any] interface {
	// Start adopts an object that is not frozen, and finds out what its start depends on. The reconciler calls release
	// once the decision is written.
	Start(ctx context.Context, s *S) (in In, release func(), err error)
	// Refuse returns the input for the start of an object that the API server never accepts.
	Refuse(in In, refusal *v1alpha1.ResolvedError) In
	// Observe reads everything that the next step of a frozen object depends on. With look, it also reads what a
	// decision asked for with Base.Look, and makes the objects that the frozen status names and that are missing.
	// reader is the cache, or reads past it.
	Observe(ctx context.Context, reader client.Reader, s *S, refused movers.Refusals, look bool) (In, error)
	// Decide makes the decision. It is pure.
	Decide(in In) Decision[S]
	// Close releases an object that has ended, and returns when to look again.
	Close(ctx context.Context, s *S) (time.Duration, error)
}

// Decision is a decision about a one-shot object.
type Decision[S any] struct {
	// Base is what all kinds share. CarryOut is allowed to change After, and to say what the object waits for in the
	// event and the status.
	Base *decision.Base
	// SetStatus gives the object the status of the decision.
	SetStatus func(s *S)
	// CarryOut does everything but to write the status and to clean up. What can never be carried out goes into
	// refused: then the reconciler asks for another decision instead of writing the status.
	CarryOut func(ctx context.Context, refused movers.Refusals) error
	// CleanUp is what the decision deletes that nothing else waits for. That the API server refuses a deletion holds up
	// neither the status nor the hooks.
	CleanUp func() []movers.Deletion
}

// Reconciler reconciles the objects of one kind.
type Reconciler[S any, T Object[S], In any] struct {
	// Writer writes the objects and their events.
	Writer status.Writer
	// Live reads past the cache.
	Live client.Reader
	// Hooks runs the hooks.
	Hooks *hookexec.Hooks
	// Kind is what this kind does in its own way. It does not try what Pauses holds.
	Kind Kind[S, In]
	// Clock and Pauses measure when to try again what the API server refuses.
	Clock  clock.PassiveClock
	Pauses *movers.Pauses
	// Deletions remembers which deletions the API server refuses.
	Deletions *movers.Deletions
}

// Reconcile takes the object that req names as far as possible now. It leaves records alone, and returns without an
// error if the object does not exist.
func (r Reconciler[S, T, In]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := T(new(S))
	if err := r.Writer.Client.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, s) {
		return ctrl.Result{}, nil
	}
	after, err := r.advance(ctx, s)
	if apierrors.IsConflict(err) {
		logs.DecidesAgain(ctx, err)
		return ctrl.Result{RequeueAfter: RetryAfterConflict}, nil
	}
	return ctrl.Result{RequeueAfter: after}, err
}

// advance starts the object if it is new, and then takes it further.
func (r Reconciler[S, T, In]) advance(ctx context.Context, s T) (time.Duration, error) {
	if s.Ended() {
		r.Hooks.Forget(s.GetUID())
		r.Pauses.Forget(s.GetUID())
		r.Deletions.Forget(s.GetUID())
		after, err := r.Kind.Close(ctx, s)
		if after == 0 && err == nil {
			logf.FromContext(ctx).V(1).Info("nothing to do: the object has ended")
		}
		return after, err
	}
	if !s.Frozen() {
		after, more, err := r.start(ctx, s)
		if err != nil || !more {
			return after, err
		}
	}
	return r.run(ctx, s)
}

// start makes an object that is not frozen wait, end or freeze. It reports whether more can be done at once.
func (r Reconciler[S, T, In]) start(ctx context.Context, s T) (after time.Duration, more bool, err error) {
	in, release, err := r.Kind.Start(ctx, s)
	if err != nil {
		return 0, false, err
	}
	defer release()
	d := r.Kind.Decide(in)
	if err := d.CarryOut(ctx, movers.Refusals{}); err != nil {
		return 0, false, err
	}
	after, err = r.write(ctx, s, d)
	if refusal := movers.RefusalOf(movers.AsRefusal(err)); refusal != nil {
		after, err = r.write(ctx, s, r.Kind.Decide(r.Kind.Refuse(in, refusal)))
		return after, false, err
	}
	return after, s.Frozen() && !d.Base.Yield, err
}

// run takes a frozen object further. It first uses the caches, and reads past them before it gives something up.
func (r Reconciler[S, T, In]) run(ctx context.Context, s T) (time.Duration, error) {
	reader, live, look := client.Reader(r.Writer.Client), false, false
	refused := movers.Refusals{}
	for {
		in, err := r.Kind.Observe(ctx, reader, s, refused, look)
		if err != nil {
			return 0, err
		}
		d := r.Kind.Decide(in)
		if d.Base.Look && !look {
			look = true
			continue
		}
		if d.Base.Verify && !live {
			reader, live = r.Live, true
			if err := r.refresh(ctx, s); err != nil {
				return 0, client.IgnoreNotFound(err)
			}
			continue
		}
		known := len(refused)
		if err := d.CarryOut(ctx, refused); err != nil {
			return 0, err
		}
		if len(refused) > known {
			continue
		}
		again := r.Pauses.Begin(s.GetUID(), r.Clock.Now(), refused, d.Base.Again) // the tries can have been slow
		after, err := r.conclude(ctx, s, d)
		return run.EarlierOf(after, again), err
	}
}

// conclude writes the status of a decision that was carried out, starts its hooks and cleans up. While post hooks are
// under way, it cleans up last; else first: who is killed in between cleans up again.
func (r Reconciler[S, T, In]) conclude(ctx context.Context, s T, d Decision[S]) (time.Duration, error) {
	var again time.Duration
	var failed error
	if !d.Base.Thaws {
		if again, failed = r.cleanUp(ctx, s, d); failed != nil && ends(s, d) {
			return 0, failed // nobody would try that again
		}
	}
	after, err := r.write(ctx, s, d)
	if err != nil {
		return 0, err
	}
	err = r.Hooks.CarryOut(ctx, s, d.Base.Hooks, d.Base.StopHooks, r.newest)
	if d.Base.Thaws && !d.Base.ThawBegins {
		again, failed = r.cleanUp(ctx, s, d)
	}
	if !s.Ended() {
		after = run.EarlierOf(after, again)
	}
	return after, errors.Join(err, failed)
}

// ends reports whether a decision ends the object.
func ends[S any, T Object[S]](s T, d Decision[S]) bool {
	after := s.DeepCopyObject().(T)
	d.SetStatus(after)
	return after.Ended()
}

// cleanUp deletes what a decision no longer needs. It says once in an event what the API server refuses to delete, and
// returns when to try that again.
func (r Reconciler[S, T, In]) cleanUp(ctx context.Context, s T, d Decision[S]) (time.Duration, error) {
	refused, news, err := r.Deletions.All(ctx, s.GetUID(), r.Clock, d.CleanUp())
	if news != "" {
		logf.FromContext(ctx).Info("can't delete what is no longer needed", "reason", v1alpha1.ReasonDeletionRefused,
			"message", news)
		r.Writer.Events.Event(s, corev1.EventTypeWarning, v1alpha1.ReasonDeletionRefused, news)
	}
	if refused {
		return movers.DeletedAgain, err
	}
	return 0, err
}

// refresh reads the object past the cache, because movers report in it. It reads into an empty object: what is no
// longer in the newest state must not stay.
func (r Reconciler[S, T, In]) refresh(ctx context.Context, s T) error {
	newest := T(new(S))
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s), newest); err != nil {
		return err
	}
	if newest.GetUID() != s.GetUID() {
		return outdated(s)
	}
	*s = *newest
	return nil
}

// write writes the status of a decision, and closes an object that has ended. It returns when to look again. If the
// write fails, s stays as it was.
func (r Reconciler[S, T, In]) write(ctx context.Context, s T, d Decision[S]) (time.Duration, error) {
	after := s.DeepCopyObject().(T)
	d.SetStatus(after)
	if err := r.Writer.Announce(ctx, s, after, d.Base.Event); err != nil {
		return 0, err
	}
	logEnded(ctx, d.Base.EndedHooks)
	*s = *after
	if s.Ended() {
		return r.Kind.Close(ctx, s)
	}
	return d.Base.After, nil
}

// logEnded logs how attempts of hooks ended, once this is written: a step whose write failed is repeated. A manager
// that is killed after the write, or gets no answer to it, logs nothing. It does not log the message of an end, which
// can quote the answer of a server.
func logEnded(ctx context.Context, ends []hookstage.End) {
	for _, e := range ends {
		logf.FromContext(ctx).Info("hook ended", "hook", e.Name, "stage", e.Stage, "attempt", e.Number,
			"target", e.Target, "reason", e.Reason)
	}
}

func (r Reconciler[S, T, In]) newest(ctx context.Context, s client.Object) error {
	return Newest(ctx, r.Live, s)
}

// Newest returns a conflict unless s is the newest state of the object. Call it before making a Job: an outdated cache
// can hide that the object has ended, and the work would be done again.
func Newest(ctx context.Context, live client.Reader, s client.Object) error {
	now := s.DeepCopyObject().(client.Object)
	if err := live.Get(ctx, client.ObjectKeyFromObject(s), now); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get %s: %w", s.GetName(), err)
	} else if err != nil || now.GetUID() != s.GetUID() || now.GetResourceVersion() != s.GetResourceVersion() {
		return outdated(s)
	}
	return nil
}

func outdated(s client.Object) error {
	return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("").GroupResource(), s.GetName(),
		errors.New("the cache is behind"))
}
