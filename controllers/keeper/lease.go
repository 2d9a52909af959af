package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// lease is the Lease of a keeper. It owns the Job and the copied Secrets, and remembers failures.
type lease struct {
	coordinationv1.Lease
	attempts map[string]attempt
}

// attempt counts how often in a row the work in a Repository failed.
type attempt struct {
	Count int         `json:"count"`
	At    metav1.Time `json:"at"`
	// Job is the last counted Job, so that no Job counts twice.
	Job string `json:"job"`
}

const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// retry returns when to try a Repository again: a minute after the first failure, twice as long each time, at most an
// hour.
func (a attempt) retry() time.Time {
	wait := lastRetry
	if a.Count < 7 {
		wait = min(lastRetry, firstRetry<<(a.Count-1))
	}
	return a.At.Add(wait)
}

// lease reads the Lease. hold creates a missing one.
func (r *Reconciler) lease(ctx context.Context, p place) (*lease, error) {
	l := &lease{attempts: map[string]attempt{}}
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: p.name()}, &l.Lease)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Lease %s/%s: %w", p.namespace, p.name(), err)
	}
	if err == nil {
		// An unreadable annotation only loses the memory of failures.
		_ = json.Unmarshal([]byte(l.Annotations[v1alpha1.AnnotationAttempts]), &l.attempts)
	}
	return l, nil
}

// ready leaves out work that failed a short while ago, and returns when to retry the first of it.
func (l *lease) ready(all []work, now time.Time) (due []work, next time.Time) {
	for _, w := range all {
		if a, failed := l.attempts[w.repository.Name]; failed && a.Count > 0 && now.Before(a.retry()) {
			next = earlier(next, a.retry())
			continue
		}
		due = append(due, w)
	}
	return limitToJob(due), next
}

// hold takes the Lease for a Job that is about to be created.
func (r *Reconciler) hold(ctx context.Context, p place, l *lease) error {
	now := metav1.NewMicroTime(r.Clock.Now())
	holder := "cairn@" + r.ClusterUID
	if l.UID == "" {
		l.Lease = coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: p.namespace, Name: p.name(),
				Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelKeeper: p.name()},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, AcquireTime: &now, RenewTime: &now},
		}
		if err := r.Create(ctx, &l.Lease, client.FieldOwner(r.FieldManager)); err != nil {
			return fmt.Errorf("create Lease %s/%s: %w", p.namespace, p.name(), err)
		}
		return nil
	}
	if other := l.Spec.HolderIdentity; other != nil && *other != holder {
		return fmt.Errorf("hold Lease %s/%s: %s holds it", p.namespace, p.name(), *other)
	}
	before := l.DeepCopy()
	l.Spec.HolderIdentity, l.Spec.AcquireTime, l.Spec.RenewTime = &holder, &now, &now
	if err := r.Patch(ctx, &l.Lease, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}),
		client.FieldOwner(r.FieldManager)); err != nil {
		return fmt.Errorf("hold Lease %s/%s: %w", p.namespace, p.name(), err)
	}
	return nil
}

// remember counts failures and successes of a Job, and releases the Lease. It can be called again for the same Job.
func (r *Reconciler) remember(ctx context.Context, p place, job string, at metav1.Time, failed map[string]bool) error {
	l, err := r.lease(ctx, p)
	if err != nil || l.UID == "" {
		return err
	}
	for repository, is := range failed {
		a := l.attempts[repository]
		switch {
		case !is:
			delete(l.attempts, repository)
		case a.Job != job:
			l.attempts[repository] = attempt{Count: a.Count + 1, At: at, Job: job}
		}
	}
	text := ""
	if len(l.attempts) > 0 {
		b, err := json.Marshal(l.attempts)
		if err != nil {
			return fmt.Errorf("encode attempts: %w", err)
		}
		text = string(b)
	}
	before := l.DeepCopy()
	l.Spec.HolderIdentity = nil
	if text == "" {
		delete(l.Annotations, v1alpha1.AnnotationAttempts)
	} else {
		if l.Annotations == nil {
			l.Annotations = map[string]string{}
		}
		l.Annotations[v1alpha1.AnnotationAttempts] = text
	}
	err = r.Patch(ctx, &l.Lease, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}),
		client.FieldOwner(r.FieldManager))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release Lease %s/%s: %w", p.namespace, p.name(), err)
	}
	return nil
}

func (l *lease) owner() metav1.OwnerReference {
	return *metav1.NewControllerRef(&l.Lease, coordinationv1.SchemeGroupVersion.WithKind("Lease"))
}
