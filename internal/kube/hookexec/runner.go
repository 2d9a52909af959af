// Package hookexec carries out the actions of hooks: commands in pods, requests, connections, and Jobs of Functions.
//
// Executor has no state. Runner makes attempts in goroutines of its own. Both are safe for concurrent use.
//
// Invariants: actions use only what was frozen before, except the values of Secrets and ConfigMaps, which are read at
// the time of the attempt and never appear in an outcome. Commands run with the rights of ServiceAccount cairn-hook of
// the target's namespace, not with those of the manager.
package hookexec

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/share"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// maxRunning is how many attempts a Runner makes at once, half of them of one namespace. Further attempts wait for
// their turn, and their timeouts start when they begin.
const maxRunning = 100

// Work is one attempt. It ends soon after ctx.
type Work func(ctx context.Context) hookstage.Outcome

// Runner makes attempts outside the reconcilers, which only start them and read how they ended. Its knowledge is lost
// with the process: an unknown attempt is made again.
type Runner struct {
	ended   chan event.GenericEvent
	running chan struct{}
	shares  *share.Share // of the namespaces
	base    context.Context
	stop    context.CancelFunc
	clock   clock.PassiveClock

	mu    sync.Mutex
	since time.Time
	runs  map[types.UID]map[hookstage.Attempt]*attempt
}

type attempt struct {
	cancel  context.CancelFunc
	begun   bool
	outcome *hookstage.Outcome
}

// NewRunner returns a Runner that works until the context of Start ends. clock is the one that the owners of attempts
// write their start times by.
func NewRunner(clock clock.PassiveClock) *Runner {
	r := &Runner{
		clock: clock,
		ended: make(chan event.GenericEvent, maxRunning), running: make(chan struct{}, maxRunning),
		shares: share.Of(maxRunning),
		runs:   map[types.UID]map[hookstage.Attempt]*attempt{},
	}
	r.base, r.stop = context.WithCancel(context.Background())
	return r
}

// Start waits for the end of ctx and then stops the running attempts. A manager calls it when it may make attempts.
func (r *Runner) Start(ctx context.Context) error {
	r.mu.Lock()
	r.since = r.clock.Now()
	r.mu.Unlock()
	<-ctx.Done()
	r.stop()
	return nil
}

// Ended returns a channel that receives the owner of each attempt that has ended.
func (r *Runner) Ended() <-chan event.GenericEvent { return r.ended }

// Results returns how the attempts of an owner ended, or that they are under way, if this process makes them.
func (r *Runner) Results(owner types.UID) hookstage.Results {
	return func(a hookstage.Attempt) *hookstage.Outcome {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch run := r.runs[owner][a]; {
		case run == nil:
			return nil
		case run.outcome == nil:
			return &hookstage.Outcome{UnderWay: true}
		default:
			return run.outcome
		}
	}
}

// known reports whether this process has made or is making an attempt. If the attempt has only chosen its pod, or has
// done nothing and must be made again, known forgets that: it is still to be made.
func (r *Runner) known(owner types.UID, wanted *hookstage.Run) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.runs[owner][wanted.Attempt]
	if run == nil {
		return false
	}
	if out := run.outcome; out != nil && (wanted.Again && out.Unbegun ||
		wanted.Pod != nil && out.Pod != nil && hookstage.SamePod(*out.Pod, *wanted.Pod)) {
		delete(r.runs[owner], wanted.Attempt)
		return false
	}
	return true
}

// Ensure starts an attempt, unless it is known.
func (r *Runner) Ensure(owner client.Object, a hookstage.Attempt, timeout time.Duration, work Work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	uid := owner.GetUID()
	if r.runs[uid][a] != nil || r.base.Err() != nil {
		return
	}
	if r.runs[uid] == nil {
		r.runs[uid] = map[hookstage.Attempt]*attempt{}
	}
	ctx, cancel := context.WithCancel(r.base)
	run := &attempt{cancel: cancel}
	r.runs[uid][a] = run
	object, _ := owner.DeepCopyObject().(client.Object)
	go func() {
		defer cancel()
		r.do(ctx, object, run, timeout, work)
	}()
}

// Stop keeps an attempt of an owner from beginning, if it still waits for its turn: it ends as cancelled. One that has
// begun goes on, because nothing can stop what it does.
func (r *Runner) Stop(owner types.UID, a hookstage.Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.runs[owner][a]; run != nil && !run.begun {
		run.cancel()
	}
}

// Forget stops the running attempts of an owner and forgets how the others ended.
func (r *Runner) Forget(owner types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs[owner] {
		run.cancel()
	}
	delete(r.runs, owner)
}

// do makes one attempt when it is its turn, and reports its end. If the process ends first, the attempt counts as never
// made.
func (r *Runner) do(ctx context.Context, owner client.Object, run *attempt, timeout time.Duration, work Work) {
	outcome := r.carryOut(ctx, owner.GetNamespace(), run, timeout, work)
	if r.base.Err() != nil {
		return
	}
	r.mu.Lock()
	if outcome.Unbegun {
		outcome.At = r.clock.Now()
	}
	run.outcome = &outcome
	r.mu.Unlock()
	select {
	case r.ended <- event.GenericEvent{Object: owner}:
	case <-r.base.Done():
	}
}

// carryOut waits for the turn of an attempt and makes it. If nobody knows whether what it began has ended, carryOut
// waits until its timeout has passed. Others can have their turn meanwhile: a thaw must not wait for that.
func (r *Runner) carryOut(
	ctx context.Context, namespace string, run *attempt, timeout time.Duration, work Work,
) hookstage.Outcome {
	release, err := r.shares.Wait(ctx, namespace)
	if err != nil {
		return r.stopped()
	}
	select {
	case r.running <- struct{}{}:
	case <-ctx.Done():
		release()
		return r.stopped()
	}
	done := sync.OnceFunc(func() {
		<-r.running
		release()
	})
	defer done()
	if !r.begins(ctx, run) {
		return r.stopped()
	}
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	outcome := work(timed)
	if outcome.Lingers {
		done()
		<-timed.Done()
	}
	return outcome
}

// begins notes that it is an attempt's turn, and reports whether it begins: nobody has stopped it before.
func (r *Runner) begins(ctx context.Context, run *attempt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	run.begun = ctx.Err() == nil
	return run.begun
}

// stopped returns the outcome of an attempt that was stopped before it began.
func (r *Runner) stopped() hookstage.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return hookstage.Outcome{
		Reason: v1alpha1.ReasonCancelled, Message: "it was stopped before it began", Since: r.since,
	}
}
