package ledger

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/footprint"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// Both controllers run in a manager, with its cache and real time; nobody calls them.
func TestManager(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	kept := footprint.Cache()
	kept.DefaultNamespaces = map[string]cache.Config{w.namespace: {}}
	mgr, err := ctrl.NewManager(bed.Config, ctrl.Options{
		Scheme: bed.Client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}, Cache: kept,
		Client: footprint.Client(),
	})
	g.Expect(err).NotTo(HaveOccurred())
	registry := prometheus.NewRegistry()
	outbox := NewOutbox(mgr.GetClient(), mgr.GetAPIReader())
	events := record.NewFakeRecorder(1000)
	g.Expect((&Collector{
		// Other tests have Ledgers, too: like the cache, this reader knows only the world's namespace.
		Client: mgr.GetClient(), APIReader: w.client, EventRecorder: events, Clock: clock.RealClock{},
		Outbox: outbox, FieldManager: "cairn-manager",
	}).SetupWithManager(mgr, controller.Options{})).To(Succeed())
	r := &Reconciler{
		// The PolicySyncs of other tests name the branch of this one: to Cairn, all their servers are one.
		Client: mgr.GetClient(), APIReader: w.client, EventRecorder: events, Clock: clock.RealClock{},
		LedgerMetrics: NewMetrics(registry), Outbox: outbox, ClusterUID: "cluster-1", FieldManager: "cairn-manager",
		DataDir: t.TempDir(), Egress: egress.Anywhere(),
	}
	g.Expect(r.SetupWithManager(mgr, controller.Options{})).To(Succeed())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- mgr.Start(ctx) }()
	defer func() {
		stop()
		g.Expect(<-done).To(Succeed())
		r.memories.closeAll()
	}()

	l := w.ledger("ledger")
	w.clock.SetTime(time.Now())
	s := w.session("a")
	drill := w.restore("drill")
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.Get(ctx, client.ObjectKeyFromObject(s), s)).To(Succeed())
		g.Expect(s.Status.Records).To(HaveLen(1))
		g.Expect(s.Finalizers).To(BeEmpty())
		g.Expect(bed.Client.Get(ctx, client.ObjectKeyFromObject(drill), drill)).To(Succeed())
		g.Expect(drill.Status.Records).To(HaveLen(1))
		g.Expect(bed.Client.Get(ctx, client.ObjectKeyFromObject(l), l)).To(Succeed())
		g.Expect(l.Status.Pending).To(BeZero())
	}, testbed.Patience, 200*time.Millisecond).
		Should(Succeed(), "recorded after the window and the pause between two pushes")
	g.Expect(w.files("clusters/production/records")).To(HaveLen(2))
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(2))
	pageFollowsPolicy(t, w)
	pageFollowsLedgers(t, w, l)
	g.Expect(testutil.CollectAndCount(registry, "cairn_ledger_push_total", "cairn_ledger_push_duration_seconds")).
		To(Equal(2))
}
