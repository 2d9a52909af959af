package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A RestoreBatch ends, and can be deleted, although the API server lets nobody change its claims.
func TestTheStampsThatNobodyCanTake(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	d := Next(Input{
		Now: time.Unix(60, 0), Batch: restoreBatchOf("web", "db"),
		Children: map[string]*v1alpha1.RestoreSession{
			"back-web": restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, "Why"),
			"back-db":  restoredChild("back-db", v1alpha1.RestoreSessionSkipped, "Why"),
		},
		DisownRefused: &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonInvalidTask, Message: "it says no"},
	})
	g.Expect(d.Disown).To(BeFalse())
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	g.Expect(d.Event.Message).To(And(HavePrefix("restored web"), ContainSubstring("it says no")))
}
