package backupsession

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session/copies"
)

// sweepInterval is how often copies are looked for that were left behind.
const sweepInterval = time.Hour

// Sweeper removes the temporary volumes and VolumeSnapshots that ended BackupSessions left behind: when the manager starts, and then
// rarely. A session removes its own before it ends; this is for what came between.
type Sweeper struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// FieldManager of all writes.
	FieldManager string
}

// SetupWithManager starts the sweeper with mgr, in the manager that leads.
func (s *Sweeper) SetupWithManager(mgr ctrl.Manager, _ controller.Options) error {
	run := func(ctx context.Context) error {
		for {
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "remove copies that were left behind")
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(sweepInterval):
			}
		}
	}
	if err := mgr.Add(manager.RunnableFunc(run)); err != nil {
		return fmt.Errorf("add the sweeper of copies: %w", err)
	}
	return nil
}

// Sweep looks for what was left behind once, and asks for its end.
func (s *Sweeper) Sweep(ctx context.Context) error {
	maker := copies.Maker{Client: s.Client, Live: s.APIReader, Owner: client.FieldOwner(s.FieldManager)}
	leftovers, err := maker.Leftovers(ctx)
	if err != nil {
		return err
	}
	for _, left := range leftovers {
		if err := maker.Remove(ctx, left); err != nil {
			return err
		}
		names := strings.Join(left.Names, ", ")
		ctrl.LoggerFrom(ctx).Info("removed copies that were left behind", "namespace", left.Namespace, "backupSession", left.Session, "copies", names)
		if left.Ended != nil {
			s.Event(left.Ended, corev1.EventTypeWarning, v1alpha1.ReasonCopiesRemoved, "removed temporary volumes that were left behind: "+names)
		}
	}
	return nil
}
