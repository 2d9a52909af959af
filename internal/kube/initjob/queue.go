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

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

const (
	// turnAgain is when an owner asks again that was not called.
	turnAgain = 5 * time.Minute
	// turnCalled is how long a called owner can take to ask for its turn.
	turnCalled = 10 * time.Second
	// turnTaken is how long the cache can take to learn of a created Job.
	turnTaken = time.Minute
)

// Queue bounds how many init Jobs of one place run at once. Waiting owners are served in the order of their creation.
// An owner whose Job has failed waits behind all the others, so that a Job that never succeeds holds nobody up. Running
// Jobs are counted in the cache, so that the count survives a restart of the manager: for a while after it, those count
// that this manager did not make, too. Queue is safe for concurrent use.
type Queue struct {
	// Clock measures the waits.
	Clock clock.PassiveClock
	// Limit is the largest number of Jobs of a place that run at once.
	Limit int
	// Label marks the counted Jobs; its value is the place.
	Label string
	// Call makes the owner reconcile. It must not block. An owner whose call is lost asks again by itself after some
	// minutes.
	Call func(owner client.ObjectKey)

	own    ownJobs
	mu     sync.Mutex
	places map[string]*place
}

// Position is the position of a Job in the order.
type Position struct {
	// Place is where the Job is counted.
	Place string
	// Created is when the owner was created.
	Created time.Time
	// Again reports that the owner's Job has failed before.
	Again bool
}

type place struct {
	waiting map[client.ObjectKey]*waiter
	// taken holds the turns of Jobs that may not be in the cache yet.
	taken map[client.ObjectKey]time.Time
}

// waiter is an owner without a turn.
type waiter struct {
	owner client.ObjectKey
	turn  Position
	// since orders owners whose Job has failed before.
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

func (q *Queue) wait() Progress {
	if q == nil {
		return Progress{}
	}
	return Progress{State: observe.StateRunning, Queued: true, After: turnAgain, Message: fmt.Sprintf(
		"it waits for its turn: at most %d repositories of a BackupStorage are initialised at once", q.Limit)}
}

// enter reports whether the Job of the request can be created now. If so, its turn is taken.
func (r Runner) enter(ctx context.Context, req Request) (bool, error) {
	if r.Queue == nil || req.Turn == nil {
		return true, nil
	}
	return r.Queue.take(ctx, r.Client, client.ObjectKeyFromObject(req.Owner), jobKey(req), *req.Turn)
}

// leave gives back a turn with which no Job was created, and calls the owners that are next.
func (r Runner) leave(ctx context.Context, req Request) {
	if r.Queue == nil || req.Turn == nil {
		return
	}
	r.Queue.giveBack(req.Turn.Place, jobKey(req))
	// An error only loses the call. Call itself can lose it too.
	if owners, err := r.Queue.Next(ctx, r.Client, req.Turn.Place); err == nil {
		for _, owner := range owners {
			r.Queue.Call(owner)
		}
	}
}

func jobKey(req Request) client.ObjectKey {
	return client.ObjectKey{Namespace: req.Owner.GetNamespace(), Name: req.Name}
}

// running reports for each Job of a place in the cache whether it still runs. The caller holds the lock: a Job that
// somebody found in the cache, and so removed from the taken turns, must be in every later list.
func (q *Queue) running(ctx context.Context, c client.Reader, place string) (map[client.ObjectKey]bool, error) {
	var list batchv1.JobList
	of := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, q.Label: place}
	if err := c.List(ctx, &list, of, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list init Jobs of %s: %w", place, err)
	}
	jobs, now := make(map[client.ObjectKey]bool, len(list.Items)), q.Clock.Now()
	all := q.own.knowsAll(now)
	for i := range list.Items {
		job := &list.Items[i]
		_, own := q.own.place(job.UID)
		jobs[client.ObjectKeyFromObject(job)] = !observe.Ended(job) && lasts(job, now) && (own || !all)
	}
	return jobs, nil
}

// Next returns the owners for which there is room now and that were not called yet. Call it when a Job of the place has
// ended.
func (q *Queue) Next(ctx context.Context, c client.Reader, place string) ([]client.ObjectKey, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs, err := q.running(ctx, c, place)
	if err != nil {
		return nil, err
	}
	p := q.place(place)
	var owners []client.ObjectKey
	for _, w := range p.first(q.free(p, jobs), q.Clock.Now()) {
		if w.called.IsZero() {
			w.called = q.Clock.Now()
			owners = append(owners, w.owner)
		}
	}
	return owners, nil
}

// Forget drops an owner that was deleted.
func (q *Queue) Forget(place string, owner client.ObjectKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.place(place).waiting, owner)
}

// take gives the turn to an owner if it is among the first for whom there is room. Otherwise the owner waits.
func (q *Queue) take(ctx context.Context, c client.Reader, owner, job client.ObjectKey, turn Position) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs, err := q.running(ctx, c, turn.Place)
	if err != nil {
		return false, err
	}
	p, now := q.place(turn.Place), q.Clock.Now()
	free := q.free(p, jobs)
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

func (q *Queue) giveBack(place string, job client.ObjectKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.place(place).taken, job)
}

func (q *Queue) place(name string) *place {
	if q.places == nil {
		q.places = map[string]*place{}
	}
	p := q.places[name]
	if p == nil {
		p = &place{waiting: map[client.ObjectKey]*waiter{}, taken: map[client.ObjectKey]time.Time{}}
		q.places[name] = p
	}
	return p
}

// free returns how many more Jobs can run. It counts a taken turn only until the cache has the turn's Job.
func (q *Queue) free(p *place, jobs map[client.ObjectKey]bool) int {
	free := q.Limit
	for _, runs := range jobs {
		if runs {
			free--
		}
	}
	for job, at := range p.taken {
		if _, known := jobs[job]; known || q.Clock.Since(at) >= turnTaken {
			delete(p.taken, job)
		} else {
			free--
		}
	}
	return free
}

// first returns up to n owners that are next. It drops owners that were called and did not come: they ask again by
// themselves.
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
