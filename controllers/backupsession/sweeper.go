package backupsession

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/copies"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
)

// Sweeper removes the temporary volumes and VolumeSnapshots that ended BackupSessions left behind: when the manager
// starts, and rarely afterwards. A session removes its own copies before it ends; the sweeper finds those of runs that
// could not.
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
	return sweep.AddSweep(mgr, "remove leftover copies", sweep.SweepInterval, s.sweep)
}

// sweep looks once for leftover copies and deletes them.
func (s *Sweeper) sweep(ctx context.Context) error {
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
			continue // An earlier sweep deleted them and reported it.
		}
		s.Metrics.addRemoved(len(fresh))
		names := strings.Join(fresh, ", ")
		ctrl.LoggerFrom(ctx).Info("removed leftover copies", "backupSession", klog.KRef(left.Namespace, left.Session),
			"copies", names)
		if left.Ended != nil {
			s.Event(left.Ended, corev1.EventTypeWarning, v1alpha1.ReasonCopiesRemoved,
				"removed leftover temporary volumes: "+names)
		}
	}
	s.Metrics.setFound(found)
	return errors.Join(failed...)
}
