package borrowed

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
)

// Sweeper gives back what restores borrowed from another namespace and could not give back, because somebody removed
// their finalizer: when the manager starts, and rarely afterwards.
type Sweeper struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// FieldManager owns all writes.
	FieldManager string
	// Metrics can be nil.
	Metrics *Metrics
}

// SetupWithManager starts the sweeper with mgr, in the manager that leads.
func (s *Sweeper) SetupWithManager(mgr ctrl.Manager) error {
	return sweep.AddSweep(mgr, "remove leftover borrowed VolumeSnapshots", sweep.SweepInterval, s.Sweep)
}

// Sweep looks once for leftover VolumeSnapshots and gives them back.
func (s *Sweeper) Sweep(ctx context.Context) error {
	b := Snapshots{Client: s.Client, Live: s.APIReader, Owner: client.FieldOwner(s.FieldManager)}
	all, err := b.all(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for of := range all {
		failed = append(failed, s.sweep(ctx, b, of))
	}
	return errors.Join(failed...)
}

// sweep gives back one VolumeSnapshot if nobody needs it.
func (s *Sweeper) sweep(ctx context.Context, b Snapshots, of Snapshot) error {
	restore, keeps, err := s.borrower(ctx, of)
	if err != nil || keeps {
		return err
	}
	if keeps, err = b.needed(ctx, of); err != nil || keeps {
		return err
	}
	removed, err := b.GiveBack(ctx, of)
	if err != nil || !removed {
		return err
	}
	s.Metrics.addRemoved()
	ctrl.LoggerFrom(ctx).Info("removed leftover borrowed VolumeSnapshot", "volumeSnapshot",
		klog.KRef(of.Namespace, of.Name))
	if restore != nil {
		s.Event(restore, corev1.EventTypeWarning, v1alpha1.ReasonLeftoversRemoved,
			"removed borrowed VolumeSnapshot that the restore left behind: "+of.Name)
	}
	return nil
}

// borrower returns the RestoreSession that borrowed a VolumeSnapshot, nil if it is gone, and reports whether it will
// give back the VolumeSnapshot itself.
func (s *Sweeper) borrower(ctx context.Context, of Snapshot) (*v1alpha1.RestoreSession, bool, error) {
	var restores v1alpha1.RestoreSessionList
	// Read past the cache, which can lack a restore that borrowed a moment ago.
	if err := s.APIReader.List(ctx, &restores, client.InNamespace(of.Namespace)); err != nil {
		return nil, false, fmt.Errorf("list RestoreSessions: %w", err)
	}
	for i := range restores.Items {
		if r := &restores.Items[i]; r.UID == of.Restore {
			return r, !r.Status.Phase.Terminal() || controllerutil.ContainsFinalizer(r, v1alpha1.FinalizerCancel), nil
		}
	}
	return nil, false, nil
}
