package ledger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// TestALedgerThatOnlyReadsProvesNothing: a Ledger of the same place finds all its records in the branch. It pushes
// nothing, and so it has no right that it could hold against others.
func TestALedgerThatOnlyReadsProvesNothing(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	w.session("a")
	w.settle(l)
	g.Expect(ledger.ClaimOf(get(w, l)).Proved).To(BeTrue())

	copied := w.ledger("copy")
	tip := w.tip()
	w.pass(11 * time.Second)
	g.Expect(w.push(copied)).Error().NotTo(HaveOccurred())
	g.Expect(get(w, copied)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(w.tip()).To(Equal(tip), "everything is there")
	g.Expect(copied.Status.LastPushedCommit).To(Equal(tip))
	g.Expect(ledger.ClaimOf(copied).Proved).To(BeFalse(), "it has shown no right to write")
}

// TestANamespaceHoldsHalfOfThePushes: Ledgers of a tenant whose server never answers leave room for others.
func TestANamespaceHoldsHalfOfThePushes(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.reconciler.Workers = 4
	l, tenant := w.ledger("ledger"), w.tenant()
	w.session("a")
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	var held []func()
	for _, name := range []string{"a", "b"} {
		slow, err := tenant.ledger(name)
		g.Expect(err).NotTo(HaveOccurred())
		done, ok := w.reconciler.turn(slow, &memory{}) // as long as its push takes
		g.Expect(ok).To(BeTrue())
		held = append(held, done)
	}
	third, err := tenant.ledger("c")
	g.Expect(err).NotTo(HaveOccurred())
	result, err := w.push(third)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(turnRetry))
	g.Expect(ready(get(w, third))).To(BeNil(), "it waits for its turn")
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	for _, done := range held {
		done()
	}
	w.pass(11 * time.Second)
	g.Expect(w.push(third)).Error().NotTo(HaveOccurred())
	g.Expect(get(w, third)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))

	// Those that fail leave one of the four workers to the others, whosever they are.
	failed := &memory{failures: 1}
	for i, of := range []*v1alpha1.Ledger{l, third, get(w, l), third} {
		_, ok := w.reconciler.turn(of, failed)
		g.Expect(ok).To(Equal(i < 3))
	}
	_, ok := w.reconciler.turn(third, &memory{})
	g.Expect(ok).To(BeTrue())
}
