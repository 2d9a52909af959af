package policysync

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// named makes a PolicySync of a namespace.
func (r *testNamespace) named(namespace, name, url string) *v1alpha1.PolicySync {
	r.t.Helper()
	p := &v1alpha1.PolicySync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: r.sync.Spec}
	p.Spec.URL, p.Spec.Timeout = url, &metav1.Duration{Duration: time.Hour}
	r.g.Expect(r.Create(r.t.Context(), p)).To(Succeed())
	return p
}

// TestSlowServersOfATenantLeaveWorkersToOthers lets a tenant point more PolicySyncs than the manager has workers to a
// server that never answers.
func TestSlowServersOfATenantLeaveWorkersToOthers(t *testing.T) {
	r := newRoom(t)
	const workers = 4
	hold, asked := make(chan struct{}), atomic.Int32{}
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		select {
		case <-hold:
		case <-req.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hold)
	tenant := bed.Namespace(t, nil)
	for i := range 2 * workers {
		r.named(tenant, fmt.Sprint("slow-", i), slow.URL+"/policy.git")
	}
	kept := footprint.Cache()
	kept.DefaultNamespaces = map[string]cache.Config{r.namespace: {}, tenant: {}}
	mgr, err := ctrl.NewManager(bed.Config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Cache: kept, Client: footprint.Client(),
	})
	r.g.Expect(err).NotTo(HaveOccurred())
	r.g.Expect((&Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Scheme: scheme,
		EventRecorder: record.NewFakeRecorder(1000), Clock: clock.RealClock{}, WorkDir: t.TempDir(),
		Egress: egress.Anywhere(),
	}).SetupWithManager(mgr, controller.Options{MaxConcurrentReconciles: workers})).To(Succeed())
	done := make(chan error)
	go func() { done <- mgr.Start(t.Context()) }()
	r.g.Eventually(asked.Load, testbed.Patience).Should(BeNumerically(">=", workers/2), "the slow ones have workers")

	revision := r.push(good)
	late := r.named(r.namespace, "late", r.server.HTTPAddress()+"/policy.git")
	r.g.Eventually(func() string {
		r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(late), late)).To(Succeed())
		return late.Status.LastAppliedRevision
	}, time.Minute, "100ms").Should(Equal(revision), "a PolicySync of another namespace has its turn")
	r.g.Expect(asked.Load()).To(BeEquivalentTo(workers/2), "the tenant has half of the workers")
}

// TestATenantHasAFewPolicySyncs makes more PolicySyncs than are served: the oldest are, and of the same second those
// whose names sort first.
func TestATenantHasAFewPolicySyncs(t *testing.T) {
	r := newRoom(t)
	revision := r.push(good)
	var older *v1alpha1.PolicySync
	for i := range 16 {
		older = r.named(r.namespace, fmt.Sprintf("a-%02d", i), "https://git.example.com/policy.git")
	}
	r.g.Expect(r.Delete(t.Context(), r.sync)).To(Succeed())
	r.sync = r.named(r.namespace, "policy", r.server.HTTPAddress()+"/policy.git")
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonTooManyPolicySyncs,
		"has 16 older PolicySyncs, and no more are served")
	r.g.Expect(conditions.IsStalled(r.sync)).To(BeTrue())
	r.g.Expect(r.gitCalls.Load()).To(BeZero(), "no server is asked")

	r.Administrators = []string{r.namespace}
	r.reconcile()
	r.expectReady(revision)
	r.Administrators = nil
	r.g.Expect(r.Delete(t.Context(), older)).To(Succeed())
	r.reconcile()
	r.g.Expect(conditions.IsTrue(r.sync, meta.ReadyCondition)).To(BeTrue(), "an older one has gone")
}
