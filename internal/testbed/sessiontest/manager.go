package sessiontest

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/internal/kube/footprint"
)

// Manager runs controllers in some namespaces for the duration of a test, with the caches of the real manager.
func Manager(
	t testing.TB, config *rest.Config, scheme *runtime.Scheme, setup func(ctrl.Manager) error, namespaces ...string,
) {
	t.Helper()
	kept := footprint.Cache()
	kept.DefaultNamespaces = map[string]cache.Config{}
	for _, n := range namespaces {
		kept.DefaultNamespaces[n] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Cache: kept, Client: footprint.Client(),
	})
	must(t, err)
	must(t, setup(mgr))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("stop the manager: %v", err)
		}
	})
}
