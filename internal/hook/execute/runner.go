// Package execute carries the actions of hooks out: commands in pods, requests and connections. What it needs to know was
// frozen before, except the values of Secrets and ConfigMaps.
package execute

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/internal/session"
)

// maxRunning is how many attempts a Runner makes at once. Further ones wait; their time begins when they do.
const maxRunning = 100

// Work is one attempt. It ends soon after ctx.
type Work func(ctx context.Context) session.HookOutcome

// Runner makes attempts beside the reconcilers, which only start them and read how they ended. What it knows is lost with the
// process: an attempt that nobody knows of is made again.
type Runner struct {
	ended   chan event.GenericEvent
	running chan struct{}
	base    context.Context
	stop    context.CancelFunc

	mu   sync.Mutex
	runs map[types.UID]map[session.HookAttempt]*attempt
}

type attempt struct {
	cancel  context.CancelFunc
	outcome *session.HookOutcome
}

// NewRunner is a Runner that works until the context of Start ends.
func NewRunner() *Runner {
	r := &Runner{
		ended: make(chan event.GenericEvent, maxRunning), running: make(chan struct{}, maxRunning),
		runs: map[types.UID]map[session.HookAttempt]*attempt{},
	}
	r.base, r.stop = context.WithCancel(context.Background())
	return r
}

// Start waits for the end of ctx, and stops what runs then. A manager calls it.
func (r *Runner) Start(ctx context.Context) error {
	<-ctx.Done()
	r.stop()
	return nil
}

// Ended gives the owner of each attempt that ended.
func (r *Runner) Ended() <-chan event.GenericEvent { return r.ended }

// Results says how the attempts of an owner ended, as far as this process made them.
func (r *Runner) Results(owner types.UID) session.HookResults {
	return func(a session.HookAttempt) *session.HookOutcome {
		r.mu.Lock()
		defer r.mu.Unlock()
		if run := r.runs[owner][a]; run != nil {
			return run.outcome
		}
		return nil
	}
}

// Known says whether an attempt was made or is being made by this process.
func (r *Runner) Known(owner types.UID, a session.HookAttempt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[owner][a] != nil
}

// Ensure makes an attempt, unless it is known.
func (r *Runner) Ensure(owner client.Object, a session.HookAttempt, timeout time.Duration, work Work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	uid := owner.GetUID()
	if r.runs[uid][a] != nil || r.base.Err() != nil {
		return
	}
	if r.runs[uid] == nil {
		r.runs[uid] = map[session.HookAttempt]*attempt{}
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

// Stop stops an attempt of an owner, if it is being made.
func (r *Runner) Stop(owner types.UID, a session.HookAttempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.runs[owner][a]; run != nil {
		run.cancel()
	}
}

// Forget stops what runs for an owner and forgets how its attempts ended.
func (r *Runner) Forget(owner types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs[owner] {
		run.cancel()
	}
	delete(r.runs, owner)
}

// do makes one attempt and tells about its end, unless the process ends: then it counts as never made.
func (r *Runner) do(ctx context.Context, owner client.Object, run *attempt, timeout time.Duration, work Work) {
	select {
	case r.running <- struct{}{}:
		defer func() { <-r.running }()
	case <-ctx.Done(): // stopped before its turn: the work ends at once and says how, or its owner waits for ever
	}
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	outcome := work(timed)
	if r.base.Err() != nil {
		return
	}
	r.mu.Lock()
	run.outcome = &outcome
	r.mu.Unlock()
	select {
	case r.ended <- event.GenericEvent{Object: owner}:
	case <-r.base.Done():
	}
}
