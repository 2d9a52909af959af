package backupsession

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/copies"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
)

// Sweeper removes the temporary volumes and VolumeSnapshots that ended BackupSessions left behind: when the manager starts, and then
// rarely. A session removes its own before it ends; this is for what came between.
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
	return lifecycle.AddSweep(mgr, "remove copies that were left behind", lifecycle.SweepInterval, s.Sweep)
}

// Sweep looks for what was left behind once, and asks for its end.
func (s *Sweeper) Sweep(ctx context.Context) error {
	maker := copies.Maker{Client: s.Client, Live: s.APIReader, Owner: client.FieldOwner(s.FieldManager)}
	leftovers, err := maker.Leftovers(ctx)
	if err != nil {
		return err
	}
	found := 0
	var failed []error
	for _, left := range leftovers {
		found += len(left.Names)
		fresh := left.Fresh()
		if err := maker.Remove(ctx, left); err != nil {
			failed = append(failed, err)
			continue
		}
		if len(fresh) == 0 {
			continue // It was told when their end was asked for.
		}
		s.Metrics.addRemoved(len(fresh))
		names := strings.Join(fresh, ", ")
		ctrl.LoggerFrom(ctx).Info("removed copies that were left behind", "namespace", left.Namespace, "backupSession", left.Session, "copies", names)
		if left.Ended != nil {
			s.Event(left.Ended, corev1.EventTypeWarning, v1alpha1.ReasonCopiesRemoved, "removed temporary volumes that were left behind: "+names)
		}
	}
	s.Metrics.setFound(found)
	return errors.Join(failed...)
}
