package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// refusals is what an API server refuses, and how often it was asked.
type refusals struct {
	asked int
	why   func(*corev1.ConfigMap) error
}

// refuse makes the API server refuse ConfigMaps.
func (w *world) refuse(why func(*corev1.ConfigMap) error) *refusals {
	r := &refusals{why: why}
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{Create: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption,
	) error {
		if cm, ok := o.(*corev1.ConfigMap); ok && r.why != nil {
			r.asked++
			if err := r.why(cm); err != nil {
				return err
			}
		}
		return c.Create(ctx, o, opts...)
	}})
	w.restart()
	return r
}

// full is the answer if a quota is used up. It differs each time, as that of an API server can.
func full(cm *corev1.ConfigMap) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, cm.Name,
		errors.New("exceeded quota: few, requested: count/configmaps=1"))
}

func noWebhook(*corev1.ConfigMap) error {
	return apierrors.NewInternalError(errors.New(`failed calling webhook "policy.example.com": connection refused`))
}

// goOn lets both controllers work for a while, as a manager would.
func (w *world) goOn(d time.Duration, ledgers ...*v1alpha1.Ledger) {
	w.t.Helper()
	for ; d > 0; d -= fullRetry {
		w.pass(fullRetry)
		if _, err := w.collect(); err != nil {
			w.t.Fatal(err)
		}
		for _, l := range ledgers {
			if _, err := w.push(l); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *world) waiting(l *v1alpha1.Ledger) float64 {
	return testutil.ToFloat64(w.reconciler.LedgerMetrics.pending.WithLabelValues(l.Namespace, l.Name))
}

// Others use up the quota for ConfigMaps of the Ledger's namespace. The Ledger says so until there is room, also if the
// manager is restarted meanwhile.
func TestALedgerSaysThatNothingIsRecorded(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.session("before")
	w.settle(l)
	w.seen()
	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "one-more"}}
	bed.Forbid(t, w.namespace, "few", "count/configmaps", 0, one)

	s := w.session("during")
	ended := s.Status.CompletionTime.Time
	w.goOn(time.Minute, l)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed), "it can be over in a moment")
	w.goOn(2*time.Minute, l)
	says := func(pending int) {
		t.Helper()
		g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonOutboxNotWritten))
		g.Expect(ready(l).Message).To(And(HavePrefix("records can't be written into the outbox, and wait"),
			ContainSubstring("exceeded quota: few, requested: count/configmaps=1, used: count/configmaps=0")))
		g.Expect(l.Status.Pending).To(BeEquivalentTo(pending))
		g.Expect(l.Status.OldestPendingTime.Time).To(BeTemporally("==", ended))
		g.Expect(w.waiting(l)).To(BeEquivalentTo(pending))
	}
	says(1)
	g.Expect(w.seen()).To(HavePrefix("Warning OutboxNotWritten records can't be written into the outbox"))
	w.session("later")
	w.goOn(2*time.Minute, l)
	says(2)
	w.goOn(time.Hour, l)
	says(2)
	g.Expect(w.seen()).To(BeEmpty(), "no event but that of the transition")

	w.restart()
	_, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	says(2) // before the Collector has tried
	w.goOn(time.Hour, l)
	says(2)
	g.Expect(w.seen()).To(BeEmpty())
	g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord))

	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "few"}}
	g.Expect(bed.Client.Delete(t.Context(), quota)).To(Succeed())
	g.Eventually(func() error { return bed.Client.Create(t.Context(), one.DeepCopy(), client.DryRunAll) },
		testbed.Patience, testbed.Interval).Should(Succeed())
	w.goOn(time.Minute, l)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(l.Status.Pending).To(BeZero())
	g.Expect(l.Status.OldestPendingTime).To(BeNil())
	g.Expect(w.waiting(l)).To(BeZero())
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(3))
	g.Expect(get(w, s).Finalizers).To(BeEmpty())
	g.Expect(w.seen()).To(HavePrefix("Normal Pushed "))
}

// The API server refuses the outbox only while it is restarted.
func TestALedgerIsReadyWhileARefusalCanPass(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	api := w.refuse(noWebhook)
	for _, name := range []string{"a", "b", "c"} {
		w.session(name)
		w.goOn(90*time.Second, l)
		g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
		api.why = nil
		w.goOn(time.Minute, l)
		api.why = noWebhook
	}
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(3))
	g.Expect(w.seen()).To(BeEmpty())
}

// Runs end all the time in a cluster with thousands of records that the API server does not take.
func TestARefusedOutboxCostsLittle(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	w.session("a")
	api := w.refuse(full)
	writes := 0
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{SubResourcePatch: func(
		ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
		opts ...client.SubResourcePatchOption,
	) error {
		writes++
		return c.SubResource(sub).Patch(ctx, o, p, opts...)
	}})
	names := []string{}
	for i := range 999 {
		names = append(names, strings.Repeat("n", 1+i/26)+string(rune('a'+i%26)))
	}
	w.collector.Administrators = policy.Administrators{w.namespace} // its Ledger records all of them
	w.collector.Client = otherNamespaces{w.client, names[:499]}
	w.goOn(3*time.Minute, l)
	g.Expect(api.asked).To(BeNumerically("<=", 6*(1+refusedInRow)), "one of each batch of records is enough")
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonOutboxNotWritten))
	g.Expect(l.Status.Pending).To(BeEquivalentTo(500))
	g.Expect(len(w.collector.Outbox.wake)).To(Equal(1), "it was woken to say so")
	<-w.collector.Outbox.wake

	api.asked, writes = 0, 0
	for range 20 { // within half a minute
		w.pass(time.Second)
		names = append(names, names[0])
		w.collector.Client = otherNamespaces{w.client, names[:499+len(names)-999]}
		result, err := w.collect()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(Equal(fullRetry))
	}
	g.Expect(api.asked).To(BeZero())
	g.Expect(w.collector.Outbox.wake).To(BeEmpty(), "nothing wakes the Ledger to write its status")
	result, err := w.push(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(unwrittenLook))
	g.Expect(get(w, l).Status.Pending).To(BeEquivalentTo(520))
	g.Expect(writes).To(Equal(1))
	message := ready(l).Message
	for range 5 {
		w.goOn(fullRetry, l)
		g.Expect(ready(get(w, l)).Message).To(Equal(message), "other words are no news")
	}
	g.Expect(writes).To(Equal(1))
}

// The API server refuses one record of several. It holds up no other.
func TestARefusedRecordHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	bad := w.session("bad")
	w.refuse(func(cm *corev1.ConfigMap) error {
		records, err := ledger.Unpack(cm.BinaryData[ledger.ParcelKey])
		g.Expect(err).NotTo(HaveOccurred())
		if slices.ContainsFunc(records, func(r ledger.Record) bool { return r.Object.UID == bad.UID }) {
			return full(cm)
		}
		return nil
	})
	for _, name := range []string{"a", "b", "c", "d"} {
		w.session(name)
		w.goOn(time.Minute, l)
	}
	g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(4))
	g.Expect(l).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonOutboxNotWritten))
	g.Expect(l.Status.Pending).To(BeEquivalentTo(1))
}

// The API server refuses the outbox of one Ledger, for example in a namespace with a quota. Another one goes on.
func TestARefusedOutboxHoldsUpNoOtherLedger(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	other := w.ledger("other", func(l *v1alpha1.Ledger) { l.Spec.Path = "other" })
	w.settle(l, other)
	api := w.refuse(func(cm *corev1.ConfigMap) error {
		if cm.Labels[v1alpha1.LabelLedger] == other.Name {
			return full(cm)
		}
		return nil
	})
	s := w.session("a")
	w.goOn(5*time.Minute, l, other)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(l.Status.Recorded).To(BeEquivalentTo(1))
	g.Expect(l.Status.Pending).To(BeZero())
	g.Expect(get(w, other)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonOutboxNotWritten))
	g.Expect(other.Status.Pending).To(BeEquivalentTo(1))
	g.Expect(get(w, s).Finalizers).NotTo(BeEmpty())

	// Nobody waits for the record any more: somebody has taken the finalizer off.
	s.Finalizers = nil
	g.Expect(bed.Client.Update(t.Context(), s)).To(Succeed())
	w.goOn(time.Minute, l, other)
	g.Expect(get(w, other)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(other.Status.Pending).To(BeZero())

	// One that is suspended says it, too, and one that goes leaves its page.
	w.session("b")
	bed.Edit(t, other, func() { other.Spec.Suspend = true })
	w.goOn(5*time.Minute, l, other)
	g.Expect(get(w, other)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonOutboxNotWritten))
	api.why = nil
	w.goOn(time.Minute, l, other)
	g.Expect(get(w, other)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(other.Status.Pending).To(BeEquivalentTo(1), "it waits in the outbox")
}

// A Ledger says that its outbox is refused when it is deleted. Its page says that nobody keeps it any more.
func TestALedgerWithARefusedOutboxLeavesItsPage(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.settle(l)
	w.refuse(full)
	w.session("a")
	w.goOn(3*time.Minute, l)
	g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonOutboxNotWritten))
	w.seen()
	w.clock.SetTime(time.Now()) // as that of the API server, which dates the deletion
	w.remove(l)
	g.Expect(w.gone(l)).To(BeTrue())
	g.Expect(w.page("clusters/production")).To(ContainSubstring(retiredPage))
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	g.Expect(w.seen()).NotTo(ContainSubstring("gave up"), "nothing was in the outbox")
}

// A run was deleted while no manager ran. The manager that comes up does not give up its record because the first try
// fails, and not for ever either.
func TestADeletedRunKeepsItsRecordForTwoMinutesOfTries(t *testing.T) {
	t.Parallel()
	for name, lasts := range map[string]bool{"a moment": false, "long": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			s := w.session("deleted")
			g.Expect(bed.Client.Delete(t.Context(), s)).To(Succeed())
			w.pass(time.Hour)
			api := w.refuse(noWebhook)
			w.goOn(2*time.Minute, l)
			g.Expect(get(w, s).Finalizers).NotTo(BeEmpty())
			if !lasts {
				api.why = nil
			}
			w.goOn(time.Minute, l)
			g.Expect(w.gone(s)).To(BeTrue())
			if !lasts {
				g.Expect(get(w, l).Status.Recorded).To(BeEquivalentTo(1))
				return
			}
			g.Expect(w.seen()).To(ContainSubstring(
				"RecordDropped deleted without a record: it could not be written into the outbox"))
			w.goOn(time.Minute, l)
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed), "nothing waits any more")
		})
	}
}
