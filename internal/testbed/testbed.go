// Package testbed runs the controllers of a test package against a real API server. A Bed is safe for concurrent use
// by tests, which each have a namespace of their own.
package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
)

// Bed is an API server with the kinds of Cairn and of CSI snapshots, and with what options add.
type Bed struct {
	// Config is the administrator's access to the API server, and Kubeconfig is the name of a file with the same.
	Config     *rest.Config
	Kubeconfig string
	// Client is the client of the tests. It reads and writes without a cache.
	Client client.WithWatch
	// Manager runs the controllers. Without the option WithControllers it is nil.
	Manager ctrl.Manager

	environment *envtest.Environment

	mu     sync.Mutex
	writes []string
	// asked counts the requests that the manager has begun, by namespace. underWay counts those without an answer
	// yet. Watches are not counted.
	asked, underWay map[string]int
}

// Scheme returns a scheme with the kinds of Kubernetes, of CSI snapshots and of Cairn, and with CRDs.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(snapshotv1.AddToScheme(scheme))
	utilruntime.Must(apiextensionsv1.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// sideBySide is how many parallel tests run at once, unless they compute. Go's own default is the number of processors.
// More finish no sooner on a small machine, and each waits longer.
const sideBySide = "8"

// options say what a Bed has.
type options struct {
	withoutKinds, catalog, computing, asManager bool
	manifests                                   []string
	controllers                                 func(ctrl.Manager) error
}

// Option adds something to a Bed, or leaves it out.
type Option func(*options)

// WithoutKinds leaves out the CRDs of Cairn and of CSI snapshots.
func WithoutKinds() Option { return func(o *options) { o.withoutKinds = true } }

// WithCatalog adds Cairn's Addons and Functions.
func WithCatalog() Option { return func(o *options) { o.catalog = true } }

// WithComputingTests runs as many parallel tests at once as there are processors, because they compute more than they
// wait.
func WithComputingTests() Option { return func(o *options) { o.computing = true } }

// WithManifests adds the objects of files. The names start at the root of the repository.
func WithManifests(names ...string) Option {
	return func(o *options) { o.manifests = append(o.manifests, names...) }
}

// WithControllers adds a manager that runs the controllers that register adds to it.
func WithControllers(register func(ctrl.Manager) error) Option {
	return func(o *options) { o.controllers = register }
}

// Run starts the bed, runs the tests and stops everything. It returns the exit code. Call it from TestMain. It fails if
// a controller logs a phrase as a reason.
func (b *Bed) Run(m *testing.M, with ...Option) int {
	ctx, cancel := context.WithCancel(context.Background())
	output := &logOutput{}
	log.SetLogger(output.logger())
	debug.SetGCPercent(collectAt)
	debug.SetMemoryLimit(memoryLimit)
	o := optionsOf(with)
	err := b.start(ctx, o)
	defer func() {
		cancel()
		if err := b.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the test bed:", err)
		}
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the test bed:", err)
		return 1
	}
	if !o.computing {
		// The flag -parallel overrides this.
		if err := flag.Set("test.parallel", sideBySide); err != nil {
			fmt.Fprintln(os.Stderr, "set the number of parallel tests:", err)
			return 1
		}
	}
	code := m.Run()
	for _, line := range output.wrong() {
		fmt.Fprintf(os.Stderr, "a phrase stands under the key reason: %s", line)
		code = 1
	}
	return code
}

// Start starts the bed. The manager runs until ctx is done. Call Stop even after an error.
func (b *Bed) Start(ctx context.Context, with ...Option) error { return b.start(ctx, optionsOf(with)) }

func optionsOf(with []Option) *options {
	o := &options{}
	for _, add := range with {
		add(o)
	}
	return o
}

func (b *Bed) start(ctx context.Context, o *options) error {
	if err := b.serve(ctx, o); err != nil {
		return err
	}
	if o.controllers == nil {
		return nil
	}
	return b.manage(ctx, o)
}

// Stop stops the API server.
func (b *Bed) Stop() error {
	if b.environment == nil {
		return nil
	}
	return b.environment.Stop()
}

// manage starts a manager.
func (b *Bed) manage(ctx context.Context, o *options) error {
	managed := rest.CopyConfig(b.Config)
	var err error
	if o.asManager {
		if managed, err = b.actAsManager(ctx); err != nil {
			return err
		}
	}
	managed.Wrap(b.count)
	b.Manager, err = ctrl.NewManager(managed, ctrl.Options{
		Scheme:  b.Client.Scheme(),
		Metrics: metricsserver.Options{BindAddress: "0"},
		// Concurrent like the real manager, so that races between reconciles show here.
		Controller: ctrlconfig.Controller{MaxConcurrentReconciles: 4},
		Cache:      footprint.Cache(),
		Client:     footprint.Client(),
	})
	if err != nil {
		return err
	}
	if err := o.controllers(b.Manager); err != nil {
		return err
	}
	go func() {
		if err := b.Manager.Start(ctx); err != nil {
			panic(err)
		}
	}()
	if !b.Manager.GetCache().WaitForCacheSync(ctx) {
		return errors.New("the cache did not fill")
	}
	return nil
}

// Namespace creates a namespace for a test.
func (b *Bed) Namespace(t testing.TB, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	if err := b.Client.Create(t.Context(), namespace); err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	return namespace.Name
}

// Create creates objects.
func (b *Bed) Create(t testing.TB, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := b.Client.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T %s: %v", object, client.ObjectKeyFromObject(object), err)
		}
	}
}

// Remove deletes an object. It drops finalizers, because the controllers that would remove them do not run in the
// tests that call this.
func (b *Bed) Remove(t testing.TB, object client.Object) {
	t.Helper()
	b.Edit(t, object, func() { object.SetFinalizers(nil) })
	if err := b.Client.Delete(t.Context(), object); err != nil {
		t.Fatalf("delete %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}

// patient outlasts a controller that writes the same object again and again.
var patient = wait.Backoff{Steps: 20, Duration: 10 * time.Millisecond, Factor: 1.3, Jitter: 0.5}

// Edit changes an object like a user of kubectl, and tries again after a conflict.
func (b *Bed) Edit(t testing.TB, object client.Object, edit func()) {
	t.Helper()
	err := retry.RetryOnConflict(patient, func() error {
		if err := b.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		edit()
		return b.Client.Update(t.Context(), object, client.FieldOwner("kubectl-edit"))
	})
	if err != nil {
		t.Fatalf("edit %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}

// EditStatus changes an object's status like its controller.
func (b *Bed) EditStatus(t testing.TB, object client.Object, edit func()) {
	t.Helper()
	err := retry.RetryOnConflict(patient, func() error {
		if err := b.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		edit()
		return b.Client.Status().Update(t.Context(), object)
	})
	if err != nil {
		t.Fatalf("edit the status of %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}
