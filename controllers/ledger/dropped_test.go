package ledger

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// consent gives the Ledgers of a tenant the consent of the world's namespace, or takes it back.
func (w *world) consent(tenant *tenant, value string) {
	w.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	bed.Edit(w.t, namespace, func() { namespace.Labels[v1alpha1.RecordedByLabel(tenant.namespace)] = value })
}

// later lets an interval pass, and then both controllers run.
func (w *world) later(l *v1alpha1.Ledger) {
	w.t.Helper()
	w.pass(11 * time.Minute)
	w.work(l)
	get(w, l)
}

// TestRecordsDoNotJustEnd takes a namespace out of what a Ledger records, in each way. The Ledger says so, the page
// says since when, and somebody has to say that it is meant.
func TestRecordsDoNotJustEnd(t *testing.T) {
	t.Parallel()
	const dropped = "NamespacesDropped"
	for name, tt := range map[string]struct {
		administrators bool
		drop           func(w *world, tenant *tenant, l *v1alpha1.Ledger)
	}{
		"the namespace takes back its consent": {false, func(w *world, tenant *tenant, _ *v1alpha1.Ledger) {
			w.consent(tenant, "false")
		}},
		"the Ledger selects fewer": {false, func(_ *world, _ *tenant, l *v1alpha1.Ledger) {
			bed.Edit(t, l, func() { l.Spec.NamespaceSelector = named("elsewhere") })
		}},
		"the Ledger is not the administrators' any more": {true, func(w *world, _ *tenant, _ *v1alpha1.Ledger) {
			w.reconciler.Administrators = nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			w.nightly("diary")
			tenant := w.tenant()
			if tt.administrators {
				w.reconciler.Administrators = policy.Administrators{tenant.namespace}
			} else {
				w.consent(tenant, "true")
			}
			l, err := tenant.ledger("l", func(l *v1alpha1.Ledger) { l.Spec.NamespaceSelector = named(w.namespace) })
			g.Expect(err).NotTo(HaveOccurred())
			w.later(l)
			page := func() string { return tenant.git("show", branch+":clusters/production/STATUS.md") }
			g.Expect(page()).To(ContainSubstring("diary"))
			g.Expect(w.seen()).NotTo(ContainSubstring(dropped))

			tt.drop(w, tenant, l)
			w.later(l)
			g.Expect(page()).To(And(Not(ContainSubstring("diary")),
				ContainSubstring("**Not recorded any more:** "+w.namespace+" (since 20")))
			says := meta.FindStatusCondition(l.Status.Conditions, dropped)
			g.Expect(says).NotTo(BeNil())
			g.Expect(says.Message).To(And(ContainSubstring(w.namespace),
				ContainSubstring("backup.cairn.dev/acknowledge-dropped=sha256:")))
			w.later(l)
			g.Expect(strings.Count(w.seen(), dropped)).To(Equal(1), "it says so once")

			digest := policy.Digest(l.Status.Dropped)
			for _, value := range []string{"sha256:another", digest} {
				bed.Edit(t, l, func() {
					metav1.SetMetaDataAnnotation(&l.ObjectMeta, "backup.cairn.dev/acknowledge-dropped", value)
				})
				w.later(l)
				known := value == digest
				g.Expect(meta.FindStatusCondition(l.Status.Conditions, dropped) == nil).To(Equal(known), value)
				g.Expect(strings.Contains(page(), w.namespace)).To(Equal(!known), value)
			}
		})
	}
}

// A namespace that comes back is recorded again. One that is being deleted is not missed.
func TestANamespaceThatComesBackIsNotDropped(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.nightly("diary")
	tenant := w.tenant()
	w.consent(tenant, "true")
	l, err := tenant.ledger("l", func(l *v1alpha1.Ledger) { l.Spec.NamespaceSelector = named(w.namespace) })
	g.Expect(err).NotTo(HaveOccurred())
	w.later(l)
	w.consent(tenant, "false")
	w.later(l)
	g.Expect(l.Status.Dropped).To(ConsistOf(HaveField("Name", w.namespace)))
	w.consent(tenant, "true")
	w.later(l)
	g.Expect(l.Status.Dropped).To(BeEmpty())
	g.Expect(l.Status.Namespaces).To(ConsistOf(w.namespace))
	g.Expect(tenant.git("show", branch+":clusters/production/STATUS.md")).NotTo(ContainSubstring("Not recorded any"))

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	g.Expect(bed.Client.Delete(t.Context(), namespace)).To(Succeed())
	w.consent(tenant, "false")
	w.later(l)
	g.Expect(l.Status.Dropped).To(BeEmpty(), "it is being deleted")
}
