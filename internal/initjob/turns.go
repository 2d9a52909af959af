package initjob

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/task"
)

const (
	// turnAgain is when an owner asks again that nobody has called.
	turnAgain = 5 * time.Minute
	// turnCalled is how long a called owner has to come.
	turnCalled = 10 * time.Second
	// turnTaken is how soon the cache knows a Job that was made.
	turnTaken = time.Minute
)

// Turns bounds how many init Jobs of one place run at once. Owners that come first are served first in the order of their
// creation; one whose Job has failed waits behind all of them, so that what never succeeds holds nobody up. Which Jobs run is
// taken from the cache, so that a restarted manager counts on. It is safe for concurrent use.
type Turns struct {
	// Clock that waits are measured with.
	Clock clock.PassiveClock
	// Limit is how many may run.
	Limit int
	// Label of the Jobs that are counted; its value is the place.
	Label string
	// Call tells the owner to reconcile. It must not block. What it loses is made up for after some minutes.
	Call func(owner client.ObjectKey)

	mu     sync.Mutex
	places map[string]*place
}

// Turn is a Job's place in the order.
type Turn struct {
	// Place whose Jobs are counted.
	Place string
	// Created is when the owner was made.
	Created time.Time
	// Again says that the owner's Job has failed before.
	Again bool
}

type place struct {
	waiting map[client.ObjectKey]*waiter
	// taken turns are of Jobs that the cache may not have yet.
	taken map[client.ObjectKey]time.Time
}

// waiter is an owner without a turn.
type waiter struct {
	owner client.ObjectKey
	turn  Turn
	// since orders those whose Job has failed before.
	since  time.Time
	called time.Time
}

func before(a, b *waiter) int {
	if a.turn.Again != b.turn.Again {
		if b.turn.Again {
			return -1
		}
		return 1
	}
	order := a.turn.Created.Compare(b.turn.Created)
	if a.turn.Again {
		order = cmp.Or(a.since.Compare(b.since), order)
	}
	return cmp.Or(order, cmp.Compare(a.owner.Namespace, b.owner.Namespace), cmp.Compare(a.owner.Name, b.owner.Name))
}

func (t *Turns) wait() Progress {
	if t == nil {
		return Progress{}
	}
	return Progress{State: task.StateRunning, After: turnAgain, Message: fmt.Sprintf(
		"it waits for its turn: at most %d repositories of a BackupStorage are initialised at once", t.Limit)}
}

// enter says whether the Job of the request may be made now. Its turn is then taken.
func (r Runner) enter(ctx context.Context, req Request) (bool, error) {
	if r.Turns == nil || req.Turn == nil {
		return true, nil
	}
	return r.Turns.take(ctx, r.Client, client.ObjectKeyFromObject(req.Owner), jobKey(req), *req.Turn)
}

// leave gives a turn back that no Job was made with, and calls those who are next.
func (r Runner) leave(ctx context.Context, req Request) {
	if r.Turns == nil || req.Turn == nil {
		return
	}
	r.Turns.giveBack(req.Turn.Place, jobKey(req))
	// An error loses the call alone, as Call itself may.
	if owners, err := r.Turns.Next(ctx, r.Client, req.Turn.Place); err == nil {
		for _, owner := range owners {
			r.Turns.Call(owner)
		}
	}
}

func jobKey(req Request) client.ObjectKey {
	return client.ObjectKey{Namespace: req.Owner.GetNamespace(), Name: req.Name}
}

// running says of each Job of a place in the cache whether it still runs. The lock is held: a Job that is no longer among the
// taken turns because somebody found it in the cache must be in what is listed after that.
func (t *Turns) running(ctx context.Context, c client.Reader, place string) (map[client.ObjectKey]bool, error) {
	var list batchv1.JobList
	if err := c.List(ctx, &list, client.MatchingLabels{t.Label: place}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the init jobs of %s: %w", place, err)
	}
	jobs := make(map[client.ObjectKey]bool, len(list.Items))
	for i := range list.Items {
		jobs[client.ObjectKeyFromObject(&list.Items[i])] = !ended(&list.Items[i])
	}
	return jobs, nil
}

// Next are the owners for which there is room now, and that were not called yet. Ask when a Job of the place has ended.
func (t *Turns) Next(ctx context.Context, c client.Reader, place string) ([]client.ObjectKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	jobs, err := t.running(ctx, c, place)
	if err != nil {
		return nil, err
	}
	p := t.place(place)
	var owners []client.ObjectKey
	for _, w := range p.first(t.free(p, jobs), t.Clock.Now()) {
		if w.called.IsZero() {
			w.called = t.Clock.Now()
			owners = append(owners, w.owner)
		}
	}
	return owners, nil
}

// Forget an owner that was deleted.
func (t *Turns) Forget(place string, owner client.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.place(place).waiting, owner)
}

// take gives the turn to an owner that is among the first for whom there is room, else has it wait.
func (t *Turns) take(ctx context.Context, c client.Reader, owner, job client.ObjectKey, turn Turn) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	jobs, err := t.running(ctx, c, turn.Place)
	if err != nil {
		return false, err
	}
	p, now := t.place(turn.Place), t.Clock.Now()
	free := t.free(p, jobs)
	if _, ok := p.taken[job]; ok {
		return true, nil
	}
	self, ok := p.waiting[owner]
	if !ok {
		self = &waiter{owner: owner, since: now}
		p.waiting[owner] = self
	}
	self.turn = turn
	self.called = time.Time{}
	if !slices.Contains(p.first(free, now), self) {
		return false, nil
	}
	delete(p.waiting, owner)
	p.taken[job] = now
	return true, nil
}

func (t *Turns) giveBack(place string, job client.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.place(place).taken, job)
}

func (t *Turns) place(name string) *place {
	if t.places == nil {
		t.places = map[string]*place{}
	}
	p := t.places[name]
	if p == nil {
		p = &place{waiting: map[client.ObjectKey]*waiter{}, taken: map[client.ObjectKey]time.Time{}}
		t.places[name] = p
	}
	return p
}

// free is how many more Jobs may run. Turns of Jobs that the cache knows are counted there.
func (t *Turns) free(p *place, jobs map[client.ObjectKey]bool) int {
	free := t.Limit
	for _, runs := range jobs {
		if runs {
			free--
		}
	}
	for job, at := range p.taken {
		if _, known := jobs[job]; known || t.Clock.Since(at) >= turnTaken {
			delete(p.taken, job)
		} else {
			free--
		}
	}
	return free
}

// first are up to n owners that are next. One that was called and did not come is struck off: it asks again by itself.
func (p *place) first(n int, now time.Time) []*waiter {
	for owner, w := range p.waiting {
		if !w.called.IsZero() && now.Sub(w.called) >= turnCalled {
			delete(p.waiting, owner)
		}
	}
	if n <= 0 {
		return nil
	}
	order := make([]*waiter, 0, len(p.waiting))
	for _, w := range p.waiting {
		order = append(order, w)
	}
	slices.SortFunc(order, before)
	return order[:min(n, len(order))]
}
