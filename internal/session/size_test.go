package session_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

// What goes wrong with each of very many targets fits into one object beside what was frozen: else its end could never be
// written.
func TestTheFailuresOfManyTargetsFitIntoOneObject(t *testing.T) {
	g := NewWithT(t)
	const n = 500
	var targets []v1alpha1.ResolvedTarget
	for i := range n {
		name := fmt.Sprintf("target-%04d", i)
		targets = append(targets, around(target(name, "pod-0"), []v1alpha1.ResolvedHook{resolvedHook("freeze")}, []v1alpha1.ResolvedHook{resolvedHook("thaw")}))
	}
	h := attempting(frozen(targets...))
	frozen, err := json.Marshal(h.session)
	g.Expect(err).NotTo(HaveOccurred())
	long := strings.Repeat("x", 5000)
	h.outcome = func(string, int32) *session.HookOutcome {
		return &session.HookOutcome{Reason: v1alpha1.ReasonCommandFailed, Message: long, Stderr: long}
	}
	h.settle(g)
	g.Expect(h.session.Status.Phase).To(Equal(backupFailed))
	ended, err := json.Marshal(h.session)
	g.Expect(err).NotTo(HaveOccurred())
	t.Logf("%d bytes when it began, %d when it ended", len(frozen), len(ended))
	g.Expect(len(ended) - len(frozen)).To(BeNumerically("<", 600<<10))
}
