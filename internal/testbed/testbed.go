// Package testbed runs the controllers of a test package against a real API server. A Bed is safe for concurrent use
// by tests, which each have a namespace of their own.
package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
	"github.com/cairn-backup/cairn/policies"
)

// Bed is an API server with Cairn's CRDs and catalog and the kinds of CSI snapshots, and a manager that runs the
// controllers under test.
type Bed struct {
	// Client is the client of the tests. It reads and writes without a cache.
	Client client.Client
	// Manager runs the controllers.
	Manager ctrl.Manager

	mu     sync.Mutex
	writes []string
	// asked counts the requests that the manager has begun, by namespace. underWay counts those without an answer
	// yet. Watches are not counted.
	asked, underWay map[string]int
}

// Scheme returns a scheme with the kinds of Kubernetes, of CSI snapshots and of Cairn.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(snapshotv1.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// sideBySide is how many parallel tests run at once. Go's own default is the number of processors.
const sideBySide = "16"

// Run starts the bed, registers controllers with setup, runs the tests and stops everything. It returns the exit
// code. Call it from TestMain.
func (b *Bed) Run(m *testing.M, setup func(mgr ctrl.Manager) error) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	snapshotKinds, err := SnapshotKinds()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the test bed:", err)
		return 1
	}
	env := &envtest.Environment{
		CRDDirectoryPaths:        append(snapshotKinds, filepath.Join(root(), "config", "crd", "bases")),
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	defer func() { _ = env.Stop() }()
	if err := b.start(ctx, env, setup); err != nil {
		fmt.Fprintln(os.Stderr, "start the test bed:", err)
		return 1
	}
	// Tests wait much more than they compute. The flag -parallel overrides this.
	if err := flag.Set("test.parallel", sideBySide); err != nil {
		fmt.Fprintln(os.Stderr, "set the number of parallel tests:", err)
		return 1
	}
	code := m.Run()
	cancel()
	return code
}

func (b *Bed) start(ctx context.Context, env *envtest.Environment, setup func(mgr ctrl.Manager) error) error {
	config, err := env.Start()
	if err != nil {
		return err
	}
	scheme := Scheme()
	if b.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := InstallCatalog(ctx, b.Client); err != nil {
		return err
	}
	managed := *config
	managed.Wrap(b.count)
	b.Manager, err = ctrl.NewManager(&managed, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		// Concurrent like the real manager, so that races between reconciles show here.
		Controller: ctrlconfig.Controller{MaxConcurrentReconciles: 4},
		Cache:      footprint.Cache(),
		Client:     footprint.Client(),
	})
	if err != nil {
		return err
	}
	if err := setup(b.Manager); err != nil {
		return err
	}
	go func() {
		if err := b.Manager.Start(ctx); err != nil {
			panic(err)
		}
	}()
	if !b.Manager.GetCache().WaitForCacheSync(ctx) {
		return fmt.Errorf("the cache did not fill")
	}
	return nil
}

// InstallCatalog applies the built-in Addons and Functions with c.
func InstallCatalog(ctx context.Context, c client.Client) error {
	files, err := policies.Catalog.ReadDir("catalog")
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := policies.Catalog.Open("catalog/" + file.Name())
		if err != nil {
			return err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(content, 4096)
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("read catalog/%s: %w", file.Name(), err)
			}
			// Apply instead of Create, because the API server delays a creation by two seconds if the kind is that
			// new.
			if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
				client.FieldOwner("testbed")); err != nil {
				return err
			}
		}
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

// Writes returns the manager's requests so far that change something in the namespace, as "<method> <path>", except
// events.
func (b *Bed) Writes(namespace string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var some []string
	for _, write := range b.writes {
		if strings.Contains(write, "/namespaces/"+namespace+"/") {
			some = append(some, write)
		}
	}
	return some
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (b *Bed) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("watch") == "true" || strings.HasSuffix(r.URL.Path, "/events") {
			return next.RoundTrip(r)
		}
		namespace := namespaceOf(r.URL.Path)
		b.begin(namespace, r)
		defer b.end(namespace)
		return next.RoundTrip(r)
	})
}

func (b *Bed) begin(namespace string, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == nil {
		b.asked, b.underWay = map[string]int{}, map[string]int{}
	}
	b.asked[namespace]++
	b.underWay[namespace]++
	if r.Method != http.MethodGet {
		b.writes = append(b.writes, r.Method+" "+r.URL.Path)
	}
}

func (b *Bed) end(namespace string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underWay[namespace]--
}

// requests returns how many requests the manager has begun in a namespace, and how many of them have no answer yet.
func (b *Bed) requests(namespace string) (asked, underWay int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[namespace], b.underWay[namespace]
}

// namespaceOf returns the namespace in a request's path, "" if there is none.
func namespaceOf(path string) string {
	_, after, _ := strings.Cut(path, "/namespaces/")
	namespace, _, _ := strings.Cut(after, "/")
	return namespace
}

// root returns the root of the repository.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for filepath.Dir(dir) != dir {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}
