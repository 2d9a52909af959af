package ledger

import (
	"context"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// noPage is the answer of a proxy before the API server that knows no such address.
func noPage(verb string) error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, verb,
		schema.GroupResource{Resource: "configmaps"}, "x", "<html>no such page</html>", 0, true)
}

// A webhook, or a proxy before the API server, answers 404. The namespace of the Ledger is fine, unless it goes.
func TestANotFoundDropsNoRecord(t *testing.T) {
	notFound := func(resource, name string) error {
		return apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name)
	}
	for name, tt := range map[string]struct {
		answer        error
		goes, dropped bool
		proxied       bool
	}{
		"a proxy":                     {answer: noPage("post")},
		"a proxy that answers always": {answer: noPage("post"), proxied: true},
		"a webhook":                   {answer: notFound("quotas", "none")},
		"the namespace goes":          {answer: notFound("namespaces", "shop"), goes: true, dropped: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{
				Namespace: "other", Name: "r", UID: "uid-batch", Finalizers: []string{v1alpha1.FinalizerRecord},
			}}
			b.Status.Phase = v1alpha1.RestoreSessionSucceeded
			l := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "l", UID: "uid-ledger"}}
			l.Spec.ClusterName = "production"
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			if tt.goes {
				namespace.DeletionTimestamp, namespace.Finalizers = new(metav1.Now()), []string{"kubernetes"}
			}
			c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(b).
				WithObjects(b, l, namespace).WithInterceptorFuncs(interceptor.Funcs{
				Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
					return tt.answer
				},
				Get: func(
					ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
					opts ...client.GetOption,
				) error {
					if _, ok := o.(*corev1.Namespace); ok && tt.proxied {
						return noPage("get")
					}
					return c.Get(ctx, key, o, opts...)
				},
			}).Build()
			collector := &Collector{
				Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10),
				Clock: clocktesting.NewFakePassiveClock(time.Now()), Outbox: NewOutbox(c, c), FieldManager: "test",
			}
			e := endedRun(v1alpha1.RestoreBatchKind, b, nil, nil)
			e.ledgers = []*v1alpha1.Ledger{l}
			_, err := collector.store(t.Context(), []*ended{e})
			g.Expect(err != nil).To(Equal(!tt.dropped), "%v", err)
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(b), b)).To(Succeed())
			g.Expect(len(b.Finalizers) == 0).To(Equal(tt.dropped), "released without a record")
		})
	}
}

// An uninstall takes the kind of Ledgers before the runs. These must not wait for records for ever. But a list that is
// not found alone does not say that there are no Ledgers.
func TestRunsDoNotWaitForAKindThatIsGone(t *testing.T) {
	for name, kept := range map[string]bool{"the kind is gone": false, "a proxy answers": true} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"}}
			builder := fake.NewClientBuilder().WithScheme(testbed.Scheme())
			if kept {
				builder.WithObjects(testbed.Definition("ledgers", false))
			}
			c := builder.WithInterceptorFuncs(interceptor.Funcs{
				List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
					return noPage("list")
				},
			}).Build()
			e := endedRun(v1alpha1.RestoreBatchKind, b, nil, nil)
			err := (&Collector{Client: c, APIReader: c}).match(t.Context(), c, []*ended{e})
			g.Expect(err != nil).To(Equal(kept), "%v", err)
			g.Expect(e.ledgers).To(BeEmpty())
		})
	}
}

// A parcel without records would be removed after the next push.
func TestAParcelThatAProxyHidesIsNotEmpty(t *testing.T) {
	g := NewWithT(t)
	l := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "l", UID: "uid-ledger"}}
	hidden := false
	get := func(
		ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption,
	) error {
		if hidden {
			return noPage("get")
		}
		return c.Get(ctx, key, o, opts...)
	}
	c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithObjects(l).
		WithInterceptorFuncs(interceptor.Funcs{Get: get}).Build()
	o := NewOutbox(c, c)
	g.Expect(o.add(t.Context(), l, []ledger.Record{{Path: "records/a.yaml", Content: "kind: X\n"}})).To(Succeed())
	parcels, err := o.list(t.Context(), l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parcels).To(HaveLen(1))
	hidden = true
	_, err = o.take(t.Context(), parcels[0])
	g.Expect(err).To(HaveOccurred())
	hidden = false
	records, err := o.take(t.Context(), parcels[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(1))
}
