package faults

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

const (
	// patience is how long the tests wait for something that takes seconds on an idle machine.
	patience = 12 * time.Minute
	glance   = 200 * time.Millisecond
)

// cluster is an API server with Cairn's kinds, and a proxy before it for the programs under test.
type cluster struct {
	testbed.Bed
	api   http.Handler // forwards to the API server
	gate  gate
	proxy *httptest.Server
}

func (c *cluster) start(ctx context.Context) error {
	if err := c.Start(ctx, testbed.WithCatalog()); err != nil {
		return err
	}
	transport, err := rest.TransportFor(c.Config)
	if err != nil {
		return err
	}
	target, err := url.Parse(c.Config.Host)
	if err != nil {
		return err
	}
	c.api = reverse(target, transport)
	c.proxy = httptest.NewServer(c.gate.wrap(c.api))
	return nil
}

// another makes a proxy that has nothing to do with the manager's.
func (c *cluster) another(t testing.TB) (*gate, string) {
	t.Helper()
	g := &gate{}
	proxy := httptest.NewServer(g.wrap(c.api))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return g, proxy.URL
}

func (c *cluster) stop() error {
	if c.proxy != nil {
		c.proxy.CloseClientConnections()
		c.proxy.Close()
	}
	return c.Bed.Stop()
}

// reverse forwards each part of an answer at once, as watches need it.
func reverse(target *url.URL, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

// get reads an object again.
func get[T client.Object](g Gomega, t testing.TB, c *cluster, o T) T {
	t.Helper()
	g.Expect(c.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o)).To(Succeed())
	return o
}

// named makes a namespace of this name.
func (c *cluster) named(t testing.TB, name string) string {
	t.Helper()
	c.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return name
}

// ledger makes a Ledger of one namespace, without a credential. When the test ends it is deleted without a last push,
// because its branch is gone, too.
func (c *cluster) ledger(t testing.TB, namespace, clusterName, url string) *v1alpha1.Ledger {
	t.Helper()
	l := &v1alpha1.Ledger{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ledger"},
		Spec: v1alpha1.LedgerSpec{
			URL: url, Branch: branch, ClusterName: clusterName,
			Author:      v1alpha1.CommitAuthor{Name: "Cairn", Email: "cairn@localhost"},
			BatchWindow: metav1.Duration{Duration: 10 * time.Second},
			Interval:    metav1.Duration{Duration: 10 * time.Minute},
			NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: namespace},
			},
		},
	}
	c.Create(t, l)
	t.Cleanup(func() {
		ctx := context.Background()
		if err := c.Client.Patch(ctx, l,
			client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
			t.Errorf("let the Ledger go: %v", err)
		}
		if err := c.Client.Delete(ctx, l); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete the Ledger: %v", err)
		}
	})
	return l
}

// refused makes a BackupSession that fails at once, because what it asks for does not exist. It is recorded like any
// other.
func (c *cluster) refused(t testing.TB, namespace, name string) *v1alpha1.BackupSession {
	t.Helper()
	s := session(namespace, name, v1alpha1.BackupConfigurationKind, "none")
	c.Create(t, s)
	return s
}

func session(namespace, name, kind, invoker string) *v1alpha1.BackupSession {
	return &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: kind, Name: invoker},
			Session: "nightly",
		},
	}
}

// parcels are the ConfigMaps of the outboxes in a namespace.
func (c *cluster) parcels(g Gomega, t testing.TB, namespace string) []corev1.ConfigMap {
	t.Helper()
	var list corev1.ConfigMapList
	g.Expect(c.Client.List(t.Context(), &list, client.InNamespace(namespace), client.HasLabels{v1alpha1.LabelLedger})).
		To(Succeed())
	return list.Items
}

// settled checks that all these BackupSessions are recorded and that nothing waits.
func (c *cluster) settled(g Gomega, t testing.TB, l *v1alpha1.Ledger, sessions ...*v1alpha1.BackupSession) {
	t.Helper()
	var list v1alpha1.BackupSessionList
	g.Expect(c.Client.List(t.Context(), &list, client.InNamespace(l.Namespace))).To(Succeed())
	now := map[string]*v1alpha1.BackupSession{}
	for i := range list.Items {
		now[list.Items[i].Name] = &list.Items[i]
	}
	for _, s := range sessions {
		g.Expect(now).To(HaveKey(s.Name))
		now[s.Name].DeepCopyInto(s)
		g.Expect(s.Status.Records).To(HaveLen(1), s.Name)
		g.Expect(s.Finalizers).To(BeEmpty(), s.Name)
	}
	g.Expect(c.parcels(g, t, l.Namespace)).To(BeEmpty(), "the outbox")
	g.Expect(get(g, t, c, l).Status.Pending).To(BeZero(), "pending")
}

// uid is the identity of the cluster.
func (c *cluster) uid(t testing.TB) types.UID {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}
	NewWithT(t).Expect(c.Client.Get(t.Context(), client.ObjectKeyFromObject(n), n)).To(Succeed())
	return n.UID
}
