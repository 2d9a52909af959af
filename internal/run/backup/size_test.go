package backup_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

// The failures of very many targets fit into one object beside what was frozen. Otherwise the end of the run could
// never be written.
func TestTheFailuresOfManyTargetsFitIntoOneObject(t *testing.T) {
	g := NewWithT(t)
	const n = 500
	var targets []v1alpha1.ResolvedTarget
	for i := range n {
		name := fmt.Sprintf("target-%04d", i)
		targets = append(targets, around(runtest.Target(name, "pod-0"), []v1alpha1.ResolvedHook{resolvedHook("freeze")},
			[]v1alpha1.ResolvedHook{resolvedHook("thaw")}))
	}
	h := attempting(frozen(targets...))
	frozen, err := json.Marshal(h.session)
	g.Expect(err).NotTo(HaveOccurred())
	long := strings.Repeat("x", 5000)
	h.outcome = func(string, int32) *hookstage.Outcome {
		return &hookstage.Outcome{Reason: v1alpha1.ReasonCommandFailed, Message: long, Stderr: long}
	}
	h.settle(g)
	g.Expect(h.session.Status.Phase).To(Equal(backupFailed))
	ended, err := json.Marshal(h.session)
	g.Expect(err).NotTo(HaveOccurred())
	t.Logf("%d bytes when it began, %d when it ended", len(frozen), len(ended))
	g.Expect(len(ended) - len(frozen)).To(BeNumerically("<", 600<<10))
}

// Otherwise the API server would refuse the run for ever, and it would neither start nor end.
func TestARunThatDoesNotFitIntoAnObjectFails(t *testing.T) {
	g := NewWithT(t)
	start := &backup.Start{Since: runtest.Now}
	for i := range 500 {
		t := ready(fmt.Sprint("t", i))
		t.Resolved.Task.Args = []string{strings.Repeat("x", 2000)}
		start.Targets = append(start.Targets, t)
	}

	d := backup.Next(backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: start})

	g.Expect(d.Status.Phase).To(Equal(backupFailed))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonTooManyTargets))
	g.Expect(d.Status.Resolved).To(BeNil())
	g.Expect(d.Status.Targets).To(BeEmpty())
}

func TestARunOfManyTargetsThatCannotBeBackedUpFits(t *testing.T) {
	g := NewWithT(t)
	start := &backup.Start{Since: runtest.Now}
	for i := range 500 {
		t := ready(fmt.Sprint("t", i))
		t.Resolved.Error = &v1alpha1.ResolvedError{
			Reason: v1alpha1.ReasonTargetNotFound, Message: strings.Repeat("x", 5000),
		}
		start.Targets = append(start.Targets, t)
	}
	d := backup.Next(backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: start})
	g.Expect(d.Status.Targets).To(HaveLen(500))
	raw, err := json.Marshal(d.Status)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(raw)).To(BeNumerically("<", 512<<10))
}

func TestARunWithoutTargetsFails(t *testing.T) {
	g := NewWithT(t)
	d := backup.Next(
		backup.Input{Now: runtest.Now, Session: &v1alpha1.BackupSession{}, Start: &backup.Start{Since: runtest.Now}})
	g.Expect(d.Status.Phase).To(Equal(backupFailed))
	g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonTargetNotFound))
}
