// Package pushgateway pushes the metrics of every ended BackupSession and RestoreSession to a Pushgateway. A push that
// fails is an event and nothing else: no backup depends on it.
//
// A Pusher is safe for concurrent use. What it has pushed is known to this process only: after a restart it pushes
// recent runs again, which does no harm.
package pushgateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/pushgateway"
	"github.com/cairn-backup/cairn/internal/run"
)

const (
	// attempts is the number of tries for a push.
	attempts = 3
	// retryAfter is the time between two tries.
	retryAfter = 10 * time.Second
	// patience is how long after a run's end the Pusher waits for its Repositories to count its Snapshots, and for the
	// Snapshots of a failed run to end.
	patience = 10 * time.Second
	// lookAfter is the time between two looks at the Repositories.
	lookAfter = time.Second
	// news is the age up to which a restarted manager pushes an ended run: it can have been pushed before, which does
	// no harm.
	news = time.Hour
)

// Pusher pushes ended runs. Its fields are set before SetupWithManager and never change.
type Pusher struct {
	client.Client
	record.EventRecorder

	// Gateway receives the pushes.
	Gateway *pushgateway.Client
	// Clock decides which runs are news.
	Clock clock.PassiveClock

	mu    sync.Mutex
	tries map[types.UID]int
	// seen holds when the Pusher first saw objects of which no clock tells when they ended.
	seen map[types.UID]time.Time
}

// finished marks an object of which nothing more is to be pushed.
const finished = attempts + 1

// backup pushes a BackupSession that ended, unless a later run of its session has ended.
func (p *Pusher) backup(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.BackupSession{}
	if err := p.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !ended(s) || !p.due(s, s.Status.CompletionTime) {
		return ctrl.Result{}, nil
	}
	later, err := p.later(ctx, s)
	if err != nil || later {
		return ctrl.Result{}, err
	}
	b, err := p.gather(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if waits(b, p.age(s, s.Status.CompletionTime)) {
		logf.FromContext(ctx).V(1).Info("waits until the Repositories know the end of its Snapshots")
		return ctrl.Result{RequeueAfter: lookAfter}, nil
	}
	return p.push(ctx, s, pushgateway.BackupSet(b)), nil
}

// restore pushes a RestoreSession that ended.
func (p *Pusher) restore(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	r := &v1alpha1.RestoreSession{}
	if err := p.Get(ctx, req.NamespacedName, r); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !ended(r) || !p.due(r, r.Status.CompletionTime) {
		return ctrl.Result{}, nil
	}
	return p.push(ctx, r, pushgateway.RestoreSet(r)), nil
}

// ended reports whether a run or a restore has a result to push: a skipped run has none.
func ended(o client.Object) bool {
	switch o := o.(type) {
	case *v1alpha1.BackupSession:
		return o.Status.Phase == v1alpha1.BackupSessionSucceeded || o.Status.Phase == v1alpha1.BackupSessionFailed
	case *v1alpha1.RestoreSession:
		return o.Status.Phase == v1alpha1.RestoreSessionSucceeded || o.Status.Phase == v1alpha1.RestoreSessionFailed
	}
	return false
}

// due reports whether an object that ended at this time is to be pushed.
func (p *Pusher) due(o client.Object, ended *metav1.Time) bool {
	if v1alpha1.HasRecordAnnotation(o.GetAnnotations()) || ended == nil {
		return false
	}
	if p.age(o, ended) > news {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries[o.GetUID()] < attempts
}

// age returns for how long an object has ended. If its end is still to come, it is for how long the Pusher has seen it.
func (p *Pusher) age(o client.Object, ended *metav1.Time) time.Duration {
	if !v1alpha1.Ahead(ended.Time, p.Clock.Now()) {
		return p.Clock.Since(ended.Time)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[types.UID]time.Time{}
	}
	if _, ok := p.seen[o.GetUID()]; !ok {
		p.seen[o.GetUID()] = p.Clock.Now()
	}
	return p.Clock.Since(p.seen[o.GetUID()])
}

func (p *Pusher) moment(o client.Object, ended *metav1.Time) run.Moment {
	return run.MomentOf(ended.Time, o.GetCreationTimestamp().Time, p.Clock.Now())
}

// later reports whether another run of the same invoker and session ended after s: the gateway holds its metrics
// already. A run of a clock that was ahead is later than no run that has ended since.
func (p *Pusher) later(ctx context.Context, s *v1alpha1.BackupSession) (bool, error) {
	var list v1alpha1.BackupSessionList
	if err := p.List(ctx, &list, client.InNamespace(s.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list BackupSessions: %w", err)
	}
	for i := range list.Items {
		o := &list.Items[i]
		if o.UID != s.UID && ended(o) && o.Spec.Invoker == s.Spec.Invoker && o.Spec.Session == s.Spec.Session &&
			o.Status.CompletionTime != nil &&
			p.moment(s, s.Status.CompletionTime).Compare(p.moment(o, o.Status.CompletionTime)) < 0 {
			return true, nil
		}
	}
	return false, nil
}

// gather reads the objects of a run. It leaves out deleted ones.
func (p *Pusher) gather(ctx context.Context, s *v1alpha1.BackupSession) (pushgateway.Backup, error) {
	b := pushgateway.Backup{
		Session: s, Now: p.Clock.Now(), Snapshots: map[string]*v1alpha1.Snapshot{},
		Repositories: map[string]*v1alpha1.Repository{}, Storages: map[string]*v1alpha1.BackupStorage{},
	}
	if s.Status.Resolved == nil {
		return b, nil
	}
	for i := range s.Status.Resolved.Targets {
		for _, r := range s.Status.Resolved.Targets[i].Repositories {
			snapshot, repository, storage := &v1alpha1.Snapshot{}, &v1alpha1.Repository{}, &v1alpha1.BackupStorage{}
			for _, want := range []struct {
				key    client.ObjectKey
				object client.Object
				keep   func()
			}{
				{
					client.ObjectKey{Namespace: s.Namespace, Name: r.Snapshot},
					snapshot,
					func() { b.Snapshots[r.Snapshot] = snapshot },
				},
				{
					client.ObjectKey{Namespace: s.Namespace, Name: r.Name},
					repository,
					func() { b.Repositories[r.Name] = repository },
				},
				{
					client.ObjectKey{Namespace: r.StorageRef.Namespace, Name: r.StorageRef.Name},
					storage,
					func() { b.Storages[r.Name] = storage },
				},
			} {
				if want.key.Name == "" {
					continue // VolumeSnapshots have no storage.
				}
				err := p.Get(ctx, want.key, want.object)
				if client.IgnoreNotFound(err) != nil {
					return b, fmt.Errorf("get objects of BackupSession %s: %w", s.Name, err)
				}
				if err == nil {
					want.keep()
				}
			}
		}
	}
	return b, nil
}

// push tries once. The last failure is an event.
func (p *Pusher) push(ctx context.Context, o client.Object, set *pushgateway.Set) ctrl.Result {
	err := p.Gateway.Push(ctx, set)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tries == nil {
		p.tries = map[types.UID]int{}
	}
	if err == nil {
		p.tries[o.GetUID()] = finished
		return ctrl.Result{}
	}
	p.tries[o.GetUID()]++
	if p.tries[o.GetUID()] < attempts {
		logf.FromContext(ctx).V(1).Info("tries again to push the metrics", "error", err.Error(),
			"after", retryAfter.String())
		return ctrl.Result{RequeueAfter: retryAfter}
	}
	logf.FromContext(ctx).Info("gave up the metrics", "error", err.Error())
	p.Eventf(o, corev1.EventTypeWarning, v1alpha1.ReasonMetricsNotPushed,
		"%s. The metrics of this run are lost, its data is not", err)
	return ctrl.Result{}
}

// forget removes a deleted object.
func (p *Pusher) forget(o client.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tries, o.GetUID())
	delete(p.seen, o.GetUID())
}
