package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestALedgerReachesNoServerOfTheMachine tests that the URL of a Ledger leads to no server that only the manager
// reaches, by address or by name. Before, the manager signed in there with the Ledger's Secret.
func TestALedgerReachesNoServerOfTheMachine(t *testing.T) {
	for name, host := range map[string]string{
		"address": "127.0.0.1", "name": "localhost", "IPv6": "[::ffff:127.0.0.1]",
	} {
		t.Run(name, func(t *testing.T) {
			g, w := NewWithT(t), newWorld(t)
			w.reconciler.Egress = nil
			l := w.ledger("ledger", func(l *v1alpha1.Ledger) {
				l.Spec.URL = strings.Replace(l.Spec.URL, "127.0.0.1", host, 1)
			})
			w.session("a")
			g.Expect(w.collect()).Error().NotTo(HaveOccurred())
			for range 3 {
				w.pass(10 * time.Minute)
				_, err := w.push(l)
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonUnreachable))
			g.Expect(conditions.GetMessage(l, meta.ReadyCondition)).To(And(
				ContainSubstring("Cairn does not connect there, because it is loopback"),
				ContainSubstring("--egress-allow=127.0.0.1/32")))
		})
	}
}
