package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	fluxctrl "github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/jitter"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/controllers/backupbatch"
	"github.com/cairn-backup/cairn/controllers/backupconfiguration"
	"github.com/cairn-backup/cairn/controllers/backupsession"
	"github.com/cairn-backup/cairn/controllers/backupstorage"
	"github.com/cairn-backup/cairn/controllers/claim"
	"github.com/cairn-backup/cairn/controllers/keeper"
	"github.com/cairn-backup/cairn/controllers/ledger"
	"github.com/cairn-backup/cairn/controllers/policysync"
	pushcontroller "github.com/cairn-backup/cairn/controllers/pushgateway"
	"github.com/cairn-backup/cairn/controllers/repository"
	"github.com/cairn-backup/cairn/controllers/restorebatch"
	"github.com/cairn-backup/cairn/controllers/restoresession"
	"github.com/cairn-backup/cairn/controllers/retention"
	"github.com/cairn-backup/cairn/controllers/sidecar"
	"github.com/cairn-backup/cairn/controllers/snapshot"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/borrowed"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/sweep"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/pushgateway"
)

// shared holds what every controller gets.
type shared struct {
	mgr        ctrl.Manager
	recorder   record.EventRecorder
	metrics    fluxctrl.Metrics // for kinds that have few objects and a finalizer: see ReadyCollector
	clusterUID string
	options    *options
	// egress decides to which servers connections go that objects ask for.
	egress *egress.Policy
	// serverTime asks the API server for its time, and began is when the process began.
	serverTime func(context.Context) (time.Time, error)
	began      time.Time
	// sidecars maintains the sidecars of workloads. sidecarsChanged delivers the policies whose sidecars have
	// changed.
	sidecars        *sidecar.Reconciler
	sidecarsChanged chan event.GenericEvent
}

// reconciler is a controller that can be added to the manager.
type reconciler interface {
	SetupWithManager(mgr ctrl.Manager, opts controller.Options) error
}

// sweeper looks regularly for leftovers.
type sweeper interface {
	SetupWithManager(mgr ctrl.Manager) error
}

// setup adds all controllers to the manager.
func (s *shared) setup() error {
	outbox := ledger.NewOutbox(s.mgr.GetClient(), s.mgr.GetAPIReader())
	s.prepareSidecars()
	for _, c := range []struct {
		// name of the controller, and the kind that its requests name.
		name, kind string
		reconciler
	}{
		{"policysync", v1alpha1.PolicySyncKind, s.policySync()},
		{"backupstorage", v1alpha1.BackupStorageKind, s.backupStorage()},
		{"repository", v1alpha1.RepositoryKind, s.repository()},
		{"sidecar", "Workload", s.sidecars},
		{"backupconfiguration", v1alpha1.BackupConfigurationKind, s.backupConfiguration()},
		{"backupbatch", v1alpha1.BackupBatchKind, s.backupBatch()},
		{"backupsession", v1alpha1.BackupSessionKind, s.backupSession()},
		{"restoresession", v1alpha1.RestoreSessionKind, s.restoreSession()},
		{"restorebatch", v1alpha1.RestoreBatchKind, s.restoreBatch()},
		{"retentionpolicy", v1alpha1.RetentionPolicyKind, s.retentionPolicy()},
		{"retention", v1alpha1.RepositoryKind, s.retention()},
		{"keeper", "Keeper", s.keeper()},
		{"snapshot", v1alpha1.SnapshotKind, s.snapshot()},
		{"claim", v1alpha1.KindPersistentVolumeClaim, s.claim()},
		{"ledger", v1alpha1.LedgerKind, s.ledger(outbox)},
		{"ledger-collector", "Outbox", s.collector(outbox)},
	} {
		if err := c.SetupWithManager(s.mgr, s.controllerOptions(c.name, c.kind)); err != nil {
			return fmt.Errorf("set up controller %s: %w", c.name, err)
		}
	}
	for name, sweeper := range map[string]sweeper{"copies": s.copies(), "borrowed VolumeSnapshots": s.borrowed()} {
		if err := sweeper.SetupWithManager(s.mgr); err != nil {
			return fmt.Errorf("set up the sweep for leftover %s: %w", name, err)
		}
	}
	return s.pushgateway()
}

// controllerOptions makes a controller name the object of a request in its log under the key of the kind.
func (s *shared) controllerOptions(name, kind string) controller.Options {
	return controller.Options{LogConstructor: logs.Constructor(s.mgr.GetLogger(), name, kind)}
}

func (s *shared) retentionPolicy() reconciler {
	return &retention.PolicyReconciler{
		Client: s.mgr.GetClient(), EventRecorder: s.recorder, FieldManager: name, Administrators: s.administrators(),
	}
}

// pushgateway adds the controller that pushes metrics of ended runs to a Pushgateway, if one is configured.
func (s *shared) pushgateway() error {
	if s.options.gatewayURL == "" {
		return nil
	}
	gateway, err := pushgateway.New(s.options.gatewayURL)
	if err != nil {
		return fmt.Errorf("read the flags: --pushgateway-url: %w", err)
	}
	pusher := &pushcontroller.Pusher{
		Client: s.mgr.GetClient(), EventRecorder: s.recorder, Gateway: gateway,
		Clock: clock.RealClock{},
	}
	return pusher.SetupWithManager(s.mgr, controller.Options{})
}

func (s *shared) policySync() reconciler {
	return &policysync.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), Scheme: s.mgr.GetScheme(),
		EventRecorder: s.recorder,
		Clock:         clock.RealClock{}, Metrics: s.metrics, RESTConfig: s.mgr.GetConfig(), WorkDir: s.options.dataDir,
		Egress: s.egress, Administrators: s.administrators(),
		Jitter: jitter.JitteredIntervalDuration,
	}
}

func (s *shared) backupStorage() reconciler {
	return &backupstorage.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		MoverImage: s.options.moverImage, ClusterUID: s.clusterUID, FieldManager: name, Egress: s.egress,
		Administrators: s.administrators(),
	}
}

func (s *shared) repository() reconciler {
	return &repository.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		MoverImage: s.options.moverImage, ClusterUID: s.clusterUID, FieldManager: name, Egress: s.egress,
		ClusterName: s.clusterName(),
		Stopwatch:   func() time.Duration { return time.Since(s.began) },
	}
}

// clusterName is the first part of inferred directories.
func (s *shared) clusterName() string {
	return cmp.Or(s.options.clusterName, defaults.ClusterName(s.clusterUID))
}

// ensureTrigger creates the account that the pods of CronJobs run as.
func (s *shared) ensureTrigger(ctx context.Context, namespace string) error {
	return access.EnsureTrigger(ctx, s.mgr.GetClient(), namespace)
}

func (s *shared) backupConfiguration() reconciler {
	return &backupconfiguration.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder,
		Clock: clock.RealClock{}, MoverImage: s.options.moverImage, FieldManager: name, ClusterName: s.clusterName(),
		Administrators: s.administrators(), EnsureTrigger: s.ensureTrigger, Sidecars: s.sidecars.State,
		SidecarsChanged: s.sidecarsChanged,
	}
}

// prepareSidecars makes the controller that other controllers ask about sidecars.
func (s *shared) prepareSidecars() {
	s.sidecarsChanged = make(chan event.GenericEvent)
	s.sidecars = &sidecar.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		MoverImage: s.options.moverImage, ClusterName: s.clusterName(), FieldManager: name,
		Administrators: s.administrators(), Account: account(), Changed: s.sidecarsChanged,
	}
}

func (s *shared) backupBatch() reconciler {
	return &backupbatch.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder,
		Clock: clock.RealClock{}, MoverImage: s.options.moverImage, FieldManager: name,
		EnsureTrigger: s.ensureTrigger,
	}
}

func (s *shared) backupSession() reconciler {
	return &backupsession.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), Scheme: s.mgr.GetScheme(),
		EventRecorder: s.recorder,
		Clock:         clock.RealClock{}, MoverImage: s.options.moverImage, ClusterUID: s.clusterUID,
		ClusterName: s.clusterName(), Administrators: s.administrators(), FieldManager: name, Hooks: s.hooks(),
		Egress: s.egress,
	}
}

func (s *shared) copies() sweeper {
	return &backupsession.Sweeper{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, FieldManager: name,
		Metrics: backupsession.NewMetrics(ctrlmetrics.Registry),
	}
}

func (s *shared) restoreSession() reconciler {
	return &restoresession.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		MoverImage: s.options.moverImage, ClusterUID: s.clusterUID, FieldManager: name, Hooks: s.hooks(),
		ClusterName: s.clusterName(), Egress: s.egress,
	}
}

func (s *shared) borrowed() sweeper {
	return &borrowed.Sweeper{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, FieldManager: name,
		Metrics: borrowed.NewMetrics(ctrlmetrics.Registry),
	}
}

func (s *shared) restoreBatch() reconciler {
	return &restorebatch.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		MoverImage: s.options.moverImage, FieldManager: name, Hooks: s.hooks(), Account: account(),
		ClusterName: s.clusterName(),
	}
}

// ownNamespace is the namespace of the manager.
func ownNamespace() string { return cmp.Or(os.Getenv(fluxctrl.EnvRuntimeNamespace), "cairn-system") }

// account returns the manager's own service account as kubectl writes it.
func account() string { return ownNamespace() + ":" + name }

// administrators returns the namespaces of the cluster's administrators.
func (s *shared) administrators() policy.Administrators {
	if len(s.options.adminNamespaces) == 0 {
		return policy.Administrators{ownNamespace()}
	}
	return s.options.adminNamespaces
}

func (s *shared) retention() reconciler {
	return &retention.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		FieldManager: name, Administrators: s.administrators(), ServerTime: s.serverTime,
		SettleTime: retention.SettleTime,
		Stopwatch:  func() time.Duration { return time.Since(s.began) },
	}
}

func (s *shared) keeper() reconciler {
	return &keeper.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		MoverImage: s.options.moverImage, ClusterUID: s.clusterUID, FieldManager: name, Egress: s.egress,
		ClusterName: s.clusterName(),
	}
}

func (s *shared) snapshot() reconciler {
	return &snapshot.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		FieldManager: name,
		Metrics:      snapshot.NewMetrics(ctrlmetrics.Registry), SweepInterval: sweep.SweepInterval,
	}
}

func (s *shared) claim() reconciler {
	return &claim.Reconciler{Client: s.mgr.GetClient(), EventRecorder: s.recorder}
}

func (s *shared) ledger(outbox *ledger.Outbox) reconciler {
	return &ledger.Reconciler{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		Metrics: s.metrics, LedgerMetrics: ledger.NewMetrics(ctrlmetrics.Registry), Outbox: outbox,
		Egress:     s.egress,
		ClusterUID: s.clusterUID, FieldManager: name, DataDir: filepath.Join(s.options.dataDir, "ledgers"),
		Jitter: jitter.JitteredIntervalDuration, Administrators: s.administrators(), Workers: s.options.concurrent,
	}
}

func (s *shared) collector(outbox *ledger.Outbox) reconciler {
	return &ledger.Collector{
		Client: s.mgr.GetClient(), APIReader: s.mgr.GetAPIReader(), EventRecorder: s.recorder, Clock: clock.RealClock{},
		Outbox: outbox, FieldManager: name, Administrators: s.administrators(),
	}
}
