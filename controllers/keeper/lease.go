package keeper

import (
	"context"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
)

// lease is the Lease of a keeper. It owns the Job and the copied Secrets, and remembers how the work ended.
type lease struct {
	coordinationv1.Lease
	attempts keeper.Attempts
}

// lease reads the Lease. hold creates a missing one.
func (r *Reconciler) lease(ctx context.Context, p place) (*lease, error) {
	l := &lease{}
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: p.name()}, &l.Lease)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Lease %s/%s: %w", p.namespace, p.name(), err)
	}
	l.attempts = keeper.ParseAttempts(l.Annotations[v1alpha1.AnnotationAttempts])
	return l, nil
}

// holderPrefix begins the name of a holder that is a Cairn; the UID of its cluster follows.
const holderPrefix = "cairn@"

// hold takes the Lease for a Job that is about to be created. A Lease that another cluster's Cairn holds came with a
// backup of that cluster, and says nothing here: the name of the Job and the lease in the backend keep others out.
func (r *Reconciler) hold(ctx context.Context, p place, l *lease) error {
	now := metav1.NewMicroTime(r.Clock.Now())
	holder := holderPrefix + r.ClusterUID
	if l.UID == "" {
		l.Lease = coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: p.namespace, Name: p.name(),
				Labels: map[string]string{
					v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelKeeper: p.name(),
				},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, AcquireTime: &now, RenewTime: &now},
		}
		if err := r.Create(ctx, &l.Lease, client.FieldOwner(r.FieldManager)); err != nil {
			return fmt.Errorf("create Lease %s/%s: %w", p.namespace, p.name(), err)
		}
		return nil
	}
	if other := l.Spec.HolderIdentity; other != nil && !strings.HasPrefix(*other, holderPrefix) {
		return fmt.Errorf("hold Lease %s/%s: %s holds it", p.namespace, p.name(), *other)
	}
	before := l.DeepCopy()
	l.Spec.HolderIdentity, l.Spec.AcquireTime, l.Spec.RenewTime = &holder, &now, &now
	if err := r.writer().Object(ctx, before, &l.Lease); err != nil {
		return err
	}
	return nil
}

// remember counts failures and successes of a Job, and releases the Lease. It can be called again for the same Job.
func (r *Reconciler) remember(
	ctx context.Context, p place, job string, at metav1.Time, ended map[string]keeper.Ended,
) error {
	l, err := r.lease(ctx, p)
	if err != nil || l.UID == "" {
		return err
	}
	l.attempts.Count(job, at, ended)
	text, err := l.attempts.Encode()
	if err != nil {
		return err
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
	err = r.writer().Object(ctx, before, &l.Lease)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release Lease %s/%s: %w", p.namespace, p.name(), err)
	}
	return nil
}

func (l *lease) owner() metav1.OwnerReference {
	return *metav1.NewControllerRef(&l.Lease, coordinationv1.SchemeGroupVersion.WithKind("Lease"))
}
