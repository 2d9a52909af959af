package restoresession

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// Sweeper gives back what restores borrowed from another namespace and did not give back, because somebody took their finalizer: when
// the manager starts, and then rarely.
type Sweeper struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// FieldManager of all writes.
	FieldManager string
	// Metrics may be nil.
	Metrics *Metrics
}

// SetupWithManager starts the sweeper with mgr, in the manager that leads.
func (s *Sweeper) SetupWithManager(mgr ctrl.Manager, _ controller.Options) error {
	return lifecycle.AddSweep(mgr, "give back what restores left behind", lifecycle.SweepInterval, s.Sweep)
}

// Sweep looks for what was left behind once, and asks for its end.
func (s *Sweeper) Sweep(ctx context.Context) error {
	l := loans{Client: s.Client, live: s.APIReader, owner: client.FieldOwner(s.FieldManager)}
	all, err := l.of(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for of := range all {
		failed = append(failed, s.sweep(ctx, l, of))
	}
	return errors.Join(failed...)
}

// sweep gives one loan back, unless somebody needs it.
func (s *Sweeper) sweep(ctx context.Context, l loans, of loan) error {
	restore, keeps, err := s.borrower(ctx, of)
	if err != nil || keeps {
		return err
	}
	if keeps, err = l.needed(ctx, of); err != nil || keeps {
		return err
	}
	removed, err := l.giveBack(ctx, of)
	if err != nil || !removed {
		return err
	}
	s.Metrics.addRemoved()
	ctrl.LoggerFrom(ctx).Info("gave back what a restore left behind", "namespace", of.namespace, "volumeSnapshot", of.name)
	if restore != nil {
		s.Event(restore, corev1.EventTypeWarning, v1alpha1.ReasonLeftoversRemoved, "removed what the restore had borrowed and left behind: VolumeSnapshot "+of.name)
	}
	return nil
}

// borrower is the RestoreSession that made a loan, nil where it is gone, and whether it gives that back by itself.
func (s *Sweeper) borrower(ctx context.Context, of loan) (*v1alpha1.RestoreSession, bool, error) {
	var restores v1alpha1.RestoreSessionList
	// Past the cache, which may lack a restore that borrowed a moment ago.
	if err := s.APIReader.List(ctx, &restores, client.InNamespace(of.namespace)); err != nil {
		return nil, false, fmt.Errorf("list restore sessions: %w", err)
	}
	for i := range restores.Items {
		if r := &restores.Items[i]; r.UID == of.restore {
			return r, !r.Status.Phase.Terminal() || controllerutil.ContainsFinalizer(r, v1alpha1.FinalizerCancel), nil
		}
	}
	return nil, false, nil
}
