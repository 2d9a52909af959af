package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A RestoreBatch ends, and can be deleted, although the API server lets nobody change its claims.
func TestTheStampsThatNobodyCanTake(t *testing.T) {
	t.Parallel()
	start := time.Unix(60, 0)
	for name, tt := range map[string]struct {
		reason  string
		after   time.Duration
		deleted bool
		ends    bool
	}{
		"a webhook can come back": {v1alpha1.ReasonCreationRefused, time.Minute, false, false},
		"not for ever":            {v1alpha1.ReasonCreationRefused, 6 * time.Minute, false, true},
		"it is being deleted":     {v1alpha1.ReasonCreationRefused, time.Minute, true, true},
		"it is never accepted":    {v1alpha1.ReasonInvalidTask, time.Minute, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := restoreBatchOf("web", "db")
			if tt.deleted {
				b.DeletionTimestamp = &metav1.Time{Time: start}
			}
			web, db := restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, "Why"),
				restoredChild("back-db", v1alpha1.RestoreSessionSkipped, "Why")
			web.Status.CompletionTime = &metav1.Time{Time: start}
			d := Next(Input{
				Now: start.Add(tt.after), Batch: b,
				Children: map[string]*v1alpha1.RestoreSession{"back-web": web, "back-db": db},
				Refused: map[string]*v1alpha1.ResolvedError{
					DisownRefused: {Reason: tt.reason, Message: "it says no"},
				},
			})
			g.Expect(d.Disown).To(BeFalse())
			g.Expect(d.Status.Phase.Terminal()).To(Equal(tt.ends))
			g.Expect(d.Event.Message).To(ContainSubstring("it says no"))
			if !tt.ends {
				g.Expect(d.Again).NotTo(BeZero())
				g.Expect(d.Status.Conditions).To(ContainElement(HaveField("Type", v1alpha1.ConditionCreationRefused)))
			}
		})
	}
}
