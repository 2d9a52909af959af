package ledger

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// A namespace consents to be recorded by the Ledger of another one, and takes the consent back. What is in the outbox
// goes out, nothing is recorded after that, and nothing waits.
func TestConsent(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	tenant := w.tenant()
	w.nightly("diary")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	label := v1alpha1.RecordedByLabel(tenant.namespace)
	consent := func(value string) { bed.Edit(t, namespace, func() { namespace.Labels[label] = value }) }
	l, err := tenant.ledger("l", func(l *v1alpha1.Ledger) { l.Spec.NamespaceSelector = named(w.namespace) })
	g.Expect(err).NotTo(HaveOccurred())
	w.session("before")
	w.work(l)
	g.Expect(conditions.GetMessage(get(w, l), v1alpha1.ConditionConsentMissing)).To(And(
		ContainSubstring("label a Namespace "+label+"=true"), Not(ContainSubstring(w.namespace))))

	consent("true")
	s := w.session("with-consent")
	w.work(l)
	g.Expect(tenant.reads()).To(And(ContainSubstring("with-consent"), ContainSubstring("diary"),
		Not(ContainSubstring(w.namespace+"/before"))))
	g.Expect(get(w, s).Status.Records).To(HaveLen(1))
	g.Expect(conditions.Has(get(w, l), v1alpha1.ConditionConsentMissing)).To(BeFalse())

	waits := w.session("in-the-outbox")
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	g.Expect(get(w, waits).Finalizers).To(BeEmpty())
	ended := w.session("not-collected-yet")
	consent("false")
	after := w.session("after")
	w.work(l)
	g.Expect(tenant.reads()).To(And(ContainSubstring("in-the-outbox"), Not(ContainSubstring("not-collected-yet")),
		Not(ContainSubstring("/after"))))
	g.Expect(get(w, waits).Status.Records).To(BeEmpty(), "a Ledger without consent writes into no object")
	g.Expect(get(w, ended).Finalizers).To(BeEmpty())
	g.Expect(get(w, after).Finalizers).To(BeEmpty())
	dir := tenant.git("show", branch+":clusters/production/STATUS.md")
	g.Expect(dir).NotTo(ContainSubstring("diary"), "the page follows")
	g.Expect(conditions.Has(get(w, l), v1alpha1.ConditionConsentMissing)).To(BeTrue())
}

// A Ledger of the administrators records all namespaces, or those that it selects, and has no limit in number.
func TestALedgerOfTheAdministratorsNeedsNoConsent(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.nightly("diary")
	admin := w.tenant()
	w.collector.Administrators = policy.Administrators{admin.namespace}
	w.reconciler.Administrators = w.collector.Administrators
	all, err := admin.ledger("all")
	g.Expect(err).NotTo(HaveOccurred())
	none, err := admin.ledger("none", func(l *v1alpha1.Ledger) {
		l.Spec.NamespaceSelector, l.Spec.ClusterName = named("elsewhere"), "none"
	})
	g.Expect(err).NotTo(HaveOccurred())
	for _, name := range []string{"c", "d", "e", "f"} {
		_, err := admin.ledger(name)
		g.Expect(err).NotTo(HaveOccurred())
	}
	s := w.session("nightly")
	w.work(all, none)
	g.Expect(get(w, s).Status.Records).To(ConsistOf(HaveField("Ledger", admin.namespace+"/all")))
	g.Expect(admin.git("show", branch+":clusters/production/STATUS.md")).To(ContainSubstring("diary"))
	g.Expect(admin.git("show", branch+":clusters/none/STATUS.md")).NotTo(ContainSubstring("diary"))
	g.Expect(conditions.Has(get(w, none), v1alpha1.ConditionConsentMissing)).To(BeFalse())
}

// The tenant names the place of somebody else's Ledger, without the right to push there. His policy is not on the page,
// and that says that nobody keeps it when the other Ledger goes.
func TestATenantAddsNothingToThePageOfAnother(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.nightly("diary")
	l := w.ledger("ledger")
	tenant := w.tenant()
	theirs, err := tenant.ledger("guest", func(l *v1alpha1.Ledger) { l.Spec.URL, l.Spec.SecretRef = w.url(), nil })
	g.Expect(err).NotTo(HaveOccurred())
	spam := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant.namespace, Name: "spam"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "spam"},
			Sessions: []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{
				Name: "nightly", Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 3 * * *"},
			}}},
		},
	}
	g.Expect(tenant.Create(t.Context(), spam)).To(Succeed())
	for range 3 {
		w.pass(15 * time.Second)
		g.Expect(w.push(theirs)).Error().NotTo(HaveOccurred())
		w.pass(15 * time.Second)
		g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	}
	g.Expect(get(w, theirs)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed))
	g.Expect(w.page("clusters/production")).To(And(ContainSubstring("diary"), Not(ContainSubstring("spam"))))
	w.remove(l)
	g.Expect(w.page("clusters/production")).To(ContainSubstring(retiredPage))
}

// The tenant can write ConfigMaps of his own namespace, so also what looks like a parcel of his outbox. It makes the
// manager write into no object of another namespace.
func TestAForgedParcelOfATenantWritesIntoNoOtherNamespace(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	s := w.session("victim")
	tenant := w.tenant()
	l, err := tenant.ledger("forger")
	g.Expect(err).NotTo(HaveOccurred())
	e := endedRun(v1alpha1.BackupSessionKind, s, s.Status.CompletionTime, nil)
	records, err := w.collector.build(t.Context(), "production", e)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.collector.Outbox.add(t.Context(), l, records)).To(Succeed(), "as the tenant can do by hand")
	w.work(l)
	g.Expect(tenant.reads()).To(ContainSubstring("victim"), "it is his own repository")
	g.Expect(get(w, s).Status.Records).To(BeEmpty())
}
