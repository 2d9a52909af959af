package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/client"
	fluxctrl "github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/events"
	"github.com/fluxcd/pkg/runtime/metrics"
	"github.com/fluxcd/pkg/runtime/probes"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	cairnmetrics "github.com/cairn-backup/cairn/internal/kube/metrics"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/version"
)

// name is the manager's name in events, leases and field managers.
const name = "cairn-manager"

// shutdownTimeout is how long running reconciles can go on after the signal to stop. It leaves some of the pod's
// grace period to release the lease: otherwise the next manager waits until the lease expires.
const shutdownTimeout = 15 * time.Second

// run starts the controllers. It returns when ctx ends or a controller can't go on.
func run(ctx context.Context, o *options) error {
	if err := o.check(); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	if err := o.jitter.SetGlobalJitter(
		rand.New(&lockedSource{source: rand.NewSource(time.Now().UnixNano())})); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	if err := checkCRDs(ctx, mgr); err != nil {
		return err
	}
	recorder, err := events.NewRecorder(mgr, ctrl.Log, o.eventsAddr, name)
	if err != nil {
		return fmt.Errorf("make the event recorder: %w", err)
	}
	uid, err := clusterUID(ctx, mgr.GetAPIReader())
	if err != nil {
		return err
	}
	serverTime, err := read.ServerTime(mgr.GetConfig())
	if err != nil {
		return fmt.Errorf("read the clock of the API server: %w", err)
	}
	rules, err := newEgress(ctx, o, mgr)
	if err != nil {
		return err
	}
	shared := shared{
		egress:     rules,
		serverTime: serverTime, began: time.Now(), mgr: mgr, recorder: recorder, clusterUID: uid, options: o,
		metrics: fluxctrl.NewMetrics(mgr, metrics.MustMakeRecorder(), v1alpha1.FinalizerPrune, v1alpha1.FinalizerFlush),
	}
	if err := shared.setup(); err != nil {
		return err
	}
	if err := ctrlmetrics.Registry.Register(cairnmetrics.NewReadyCollector(mgr.GetClient())); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	if err := ctrlmetrics.Registry.Register(cairnmetrics.NewCollector(mgr.GetClient(), clock.RealClock{})); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	if o.kubeStashMetrics {
		theirs := cairnmetrics.NewKubeStashCollector(mgr.GetClient(), clock.RealClock{})
		if err := ctrlmetrics.Registry.Register(theirs); err != nil {
			return fmt.Errorf("register the metrics of KubeStash: %w", err)
		}
	}
	probes.SetupChecks(mgr, ctrl.Log)
	ctrl.Log.Info("starting manager", "version", version.Version, "moverImage", o.moverImage)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run the controllers: %w", err)
	}
	return nil
}

func newManager(o *options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(snapshotv1.AddToScheme(scheme)) // a cluster can lack these kinds: they are never cached
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	mgr, err := ctrl.NewManager(client.GetConfigOrDie(o.client), ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metricsOptions(o),
		HealthProbeBindAddress:        o.healthAddr,
		LeaderElection:                o.leaderElection.Enable,
		LeaderElectionID:              name,
		LeaderElectionNamespace:       os.Getenv(fluxctrl.EnvRuntimeNamespace),
		LeaderElectionReleaseOnCancel: o.leaderElection.ReleaseOnCancel,
		LeaseDuration:                 &o.leaderElection.LeaseDuration,
		RenewDeadline:                 &o.leaderElection.RenewDeadline,
		RetryPeriod:                   &o.leaderElection.RetryPeriod,
		GracefulShutdownTimeout:       new(shutdownTimeout),
		Controller:                    ctrlconfig.Controller{MaxConcurrentReconciles: o.concurrent},
		Cache:                         footprint.Cache(),
		Client:                        footprint.Client(),
		NewClient:                     newClient,
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	return mgr, nil
}

// newClient makes the manager's client, which logs what it creates and deletes.
func newClient(config *rest.Config, options ctrlclient.Options) (ctrlclient.Client, error) {
	c, err := ctrlclient.New(config, options)
	if err != nil {
		return nil, err
	}
	return logs.NewClient(c), nil
}

// clusterUID returns the UID of the namespace kube-system, which identifies a cluster for its whole life.
func clusterUID(ctx context.Context, c ctrlclient.Reader) (string, error) {
	var namespace corev1.Namespace
	if err := c.Get(ctx, types.NamespacedName{Name: "kube-system"}, &namespace); err != nil {
		return "", fmt.Errorf("get Namespace kube-system, whose UID identifies the cluster: %w", err)
	}
	return string(namespace.UID), nil
}

// lockedSource makes a source safe for several goroutines. Flux's jitter needs that.
type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (l *lockedSource) Int63() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Int63()
}

func (l *lockedSource) Seed(seed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source.Seed(seed)
}
