package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// What an earlier attempt has done must not count as begun by the next one.
func TestTheNextAttemptOfASidecarGetsWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.restored()
	w.Reconcile("restore")
	w.Reconcile("restore")
	s := w.session("restore")
	h := &s.Status.Resolved.Hosts[0]
	logs := h.Volumes[0]
	logs.Component, logs.Volume = "pod-0-logs", "logs"
	h.Volumes = append(h.Volumes, logs)
	s.Status.Components = map[string]v1alpha1.RestoredComponent{
		"pod-0": {Phase: v1alpha1.RestoreSessionSucceeded},
	}
	var work sidecar.Work
	w.Expect(reconciler(w.World).assign(t.Context(), s, &work, h, 2, restore.Input{
		Session: s, Now: w.Clock.Now(),
	})).To(Succeed())
	w.Expect(work.Host("pod-0").Components).To(HaveExactElements(And(
		HaveField("Name", "pod-0-logs"), HaveField("Volume", "logs"))))
}
