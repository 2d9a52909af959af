package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// What the first attempt has done must not count as begun by the second one.
func TestTheSecondAttemptOfASidecarGetsWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.Reconcile("run")
	w.Reconcile("run")
	s, snap := w.session("run"), w.snapshot("db-run")
	target := &s.Status.Resolved.Targets[0]
	logs := target.Hosts[0].Volumes[0]
	logs.Component, logs.Volume = "pod-0-logs", "logs"
	target.Hosts[0].Volumes = append(target.Hosts[0].Volumes, logs)
	snap.Status.Components = map[string]v1alpha1.Component{"pod-0": {Phase: v1alpha1.SnapshotSucceeded, ID: "k"}}
	var work sidecar.Work
	w.Expect(reconciler(w.World).assign(t.Context(), backup.Input{Session: s, Now: w.Clock.Now()}, &work, snap,
		backup.Mover{
			Target: target, Repository: &target.Repositories[0], Host: &target.Hosts[0], Attempt: 2,
		})).To(Succeed())
	w.Expect(work.Host("pod-0").Components).To(HaveExactElements(And(
		HaveField("Name", "pod-0-logs"), HaveField("Volume", "logs"))))
}
