package sessiontest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Manager runs controllers in some namespaces for the length of a test, with caches as the real manager has them.
func Manager(t testing.TB, config *rest.Config, scheme *runtime.Scheme, setup func(ctrl.Manager) error, namespaces ...string) {
	t.Helper()
	in := map[string]cache.Config{}
	for _, n := range namespaces {
		in[n] = cache.Config{}
	}
	movers := labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:  cache.Options{DefaultNamespaces: in, ByObject: map[client.Object]cache.ByObject{&corev1.Pod{}: {Label: movers}}},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}},
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
