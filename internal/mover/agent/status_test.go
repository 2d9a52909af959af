package agent

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/task"
)

// A sidecar that stood still until its assignment was withdrawn is fenced: its backup must not be completed.
func TestAWithdrawnAssignmentIsFenced(t *testing.T) {
	for name, withdrawn := range map[string]bool{"before this report": true, "and this report finds out": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			work, withdraw := context.WithCancelCause(t.Context())
			if withdrawn {
				withdraw(errWithdrawn)
			}
			s := &sidecarStatus{
				work: work, stands: func(context.Context) (bool, error) { return false, nil },
				withdraw: func() { withdraw(errWithdrawn) },
			}
			ended := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded}
			g.Expect(s.Snapshot(t.Context(), task.Object{Name: "s", UID: "u"}, "pvc", ended)).
				To(MatchError(report.ErrFenced))
			g.Expect(context.Cause(work)).To(MatchError(errWithdrawn))
			g.Expect(s.accepted).To(HaveKeyWithValue("pvc", true), "nobody reports it again")
		})
	}
}
