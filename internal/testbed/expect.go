package testbed

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// Patience is how long a test waits for what must happen.
	Patience = 5 * time.Minute
	// Interval is how often a test looks.
	Interval = 50 * time.Millisecond
	// quiet is how long a test watches that something does not happen.
	quiet = time.Second
)

// Eventually reads the object until the expectations hold.
func (b *Bed) Eventually(t testing.TB, object client.Object, expect func(g Gomega), reason string) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) {
		g.Expect(b.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
		expect(g)
	}, Patience, Interval).Should(Succeed(), reason)
}

// ExpectReason waits until the object's generation is observed, and it has this phase, this reason of its Ready
// condition and a message that contains this text. Then Flux's checker verifies that its conditions follow kstatus.
func (b *Bed) ExpectReason(t testing.TB, object conditions.Getter, phase, reason, message string) {
	t.Helper()
	b.Eventually(t, object, func(g Gomega) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		g.Expect(err).NotTo(HaveOccurred())
		status, _, _ := unstructured.NestedMap(content, "status")
		g.Expect(conditions.GetReason(object, meta.ReadyCondition)).To(Equal(reason), "%+v", status)
		g.Expect(conditions.GetMessage(object, meta.ReadyCondition)).To(ContainSubstring(message))
		g.Expect(status).To(HaveKeyWithValue("observedGeneration", object.GetGeneration()))
		g.Expect(status).To(HaveKeyWithValue("phase", phase))
	}, reason)
	if reason == v1alpha1.ReasonProgressing {
		return // Ready is Unknown then, which the checker does not know
	}
	checker := check.NewChecker(b.Client,
		&check.Conditions{NegativePolarity: []string{meta.StalledCondition, meta.ReconcilingCondition}})
	checker.DisableFetch = true
	checker.WithT(NewWithT(t)).CheckErr(t.Context(), object)
}

// StaysQuiet verifies for a while that the manager makes no writes in a namespace beyond these.
func (b *Bed) StaysQuiet(t testing.TB, namespace string, before []string, reason string) {
	t.Helper()
	NewWithT(t).Consistently(func() []string { return b.Writes(namespace) }, quiet, Interval).
		Should(Equal(before), reason)
}

// NoOp waits until the controllers have come to rest, reconciles an unchanged object three times and returns the last
// result. It fails if the reconciles write anything or record an event.
func (b *Bed) NoOp(t testing.TB, r reconcile.Reconciler, events *Events, object client.Object) ctrl.Result {
	t.Helper()
	g := NewWithT(t)
	key := client.ObjectKeyFromObject(object)
	b.Quiet(t, object.GetNamespace())
	b.Cached(t, object)
	before, reported := b.Writes(object.GetNamespace()), events.Of(object.GetNamespace())

	var result ctrl.Result
	for range 3 {
		var err error
		result, err = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
		g.Expect(err).NotTo(HaveOccurred())
	}

	g.Expect(b.Writes(object.GetNamespace())).To(Equal(before))
	g.Expect(events.Of(object.GetNamespace())).To(Equal(reported), "events report only transitions")
	version := object.GetResourceVersion()
	g.Expect(b.Client.Get(t.Context(), key, object)).To(Succeed())
	g.Expect(object.GetResourceVersion()).To(Equal(version))
	return result
}

// ASecondLater waits until a newly created object would be younger than this one: creation has a resolution of
// seconds.
func ASecondLater(t testing.TB, than client.Object) {
	t.Helper()
	NewWithT(t).Eventually(func() bool {
		return time.Since(than.GetCreationTimestamp().Time) > time.Second
	}, Patience, Interval).Should(BeTrue())
}
