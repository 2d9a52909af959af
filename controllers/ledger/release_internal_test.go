package ledger

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// A release that is lost is tried again, and is no line of the log.
func TestALostReleaseOfALedgerIsAnError(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	l := &v1alpha1.Ledger{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "one", UID: "l", DeletionTimestamp: new(metav1.Now()),
		Finalizers: []string{v1alpha1.FinalizerFlush, "example.com/held"},
	}}
	lost := errors.New("lost")
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(l).
		WithInterceptorFuncs(testbed.FailPatch(&lost)).Build()
	r := &Reconciler{Client: c, APIReader: c, FieldManager: "test", DataDir: t.TempDir()}
	ctx, lines := loglines.Record(t.Context(), 0)
	g.Expect(r.finish(ctx, l.DeepCopy())).To(MatchError(lost))
	g.Expect(*lines).To(BeEmpty())
	lost = nil
	for range 2 { // a manager that was killed does it again
		g.Expect(r.finish(ctx, l)).To(Succeed())
	}
	g.Expect(l.Finalizers).To(Equal([]string{"example.com/held"}))
	g.Expect(*lines).To(HaveExactElements(ContainSubstring("released the Ledger")))
}

// Whoever may write in one namespace makes a Ledger with a selector that the API server takes and that can't be read.
// The runs of others are recorded and let go, whatever the other selector says. The runs of its own namespace that the
// other selector selects stay, so that none gets lost.
func TestAnUnreadableSelectorHoldsNoRunsOfOthers(t *testing.T) {
	t.Parallel()
	unreadable := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: "a", Operator: "Near",
	}}}
	of := func(team string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}
	}
	for name, tt := range map[string]struct {
		sessions, namespaces *metav1.LabelSelector
		held                 bool
	}{
		"its own namespaces":           {unreadable, of("tenant"), true},
		"the namespaces of others":     {unreadable, of("shop"), false},
		"no other namespaces":          {unreadable, nil, true},
		"its own runs":                 {of("tenant"), unreadable, true},
		"the runs of others":           {of("shop"), unreadable, false},
		"nothing of it can be read":    {unreadable, unreadable, true},
		"all runs, but unknown places": {nil, unreadable, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
			ledger := func(namespace string) *v1alpha1.Ledger {
				return &v1alpha1.Ledger{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "l", UID: "uid"},
					Spec:       v1alpha1.LedgerSpec{URL: "https://git.example.org/r.git", ClusterName: "production"},
				}
			}
			wrong := ledger("tenant")
			wrong.Spec.Selector, wrong.Spec.NamespaceSelector = tt.sessions, tt.namespaces
			run := func(namespace string) *v1alpha1.BackupSession {
				s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
					Namespace: namespace, Name: "nightly-1", UID: types.UID("12345678-" + namespace),
					Finalizers: []string{v1alpha1.FinalizerRecord}, Labels: map[string]string{"team": namespace},
				}}
				s.Spec.Invoker.Kind, s.Spec.Invoker.Name = v1alpha1.BackupConfigurationKind, "web"
				s.Status.Phase, s.Status.CompletionTime = v1alpha1.BackupSessionSucceeded, new(metav1.NewTime(now))
				return s
			}
			s, own := run("shop"), run("tenant")
			namespace := func(name string) *corev1.Namespace {
				return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
					Name: name, Labels: map[string]string{"team": name},
				}}
			}
			builder := fake.NewClientBuilder().WithScheme(testbed.Scheme()).WithStatusSubresource(s).
				WithObjects(ledger("shop"), wrong, s, own, namespace("shop"), namespace("tenant"))
			for _, o := range []client.Object{
				&v1alpha1.BackupSession{}, &v1alpha1.RestoreSession{}, &v1alpha1.RestoreBatch{}, &v1alpha1.Snapshot{},
			} {
				builder = builder.WithIndex(o, indexPending, pendingKey)
			}
			c := builder.Build()
			clock := clocktesting.NewFakePassiveClock(now)
			collector := &Collector{
				Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(100), Clock: clock,
				Outbox: NewOutbox(c, c), FieldManager: "cairn-manager",
			}
			for range 3 {
				clock.SetTime(clock.Now().Add(time.Hour))
				_, err := collector.Reconcile(t.Context(), everything)
				g.Expect(err).NotTo(HaveOccurred())
			}
			var parcels corev1.ConfigMapList
			g.Expect(c.List(t.Context(), &parcels, client.InNamespace("shop"))).To(Succeed())
			g.Expect(parcels.Items).To(HaveLen(1), "the Ledger of the namespace has the record")
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
			g.Expect(s.Finalizers).To(BeEmpty(), "a mistake elsewhere holds up nobody")
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(own), own)).To(Succeed())
			g.Expect(len(own.Finalizers) > 0).To(Equal(tt.held))
		})
	}
}
