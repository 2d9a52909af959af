package status

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Each write triggers a reconcile, so words that differ each time must not be written each time.
func TestNewWordsAloneAreNotWrittenEachTime(t *testing.T) {
	g := NewWithT(t)
	batch := &v1alpha1.BackupBatch{}
	problems := func(words, second string) []Problem {
		return []Problem{{Text: "apply x (1): ", Words: words}, {Text: second}}
	}
	first := Message(batch, problems("port 1; port 2", "no target"), time.Time{})
	NotReady(batch, v1alpha1.ReasonReconcileFailed, first)
	is := conditions.Get(batch, meta.ReadyCondition)
	g.Expect(is.Message).To(Equal("apply x (1): port 1; port 2; no target"))
	soon, late := is.LastTransitionTime.Add(time.Minute), is.LastTransitionTime.Add(time.Hour)
	g.Expect(Message(batch, problems("port 3", "no target"), soon)).To(Equal(is.Message))
	g.Expect(Message(batch, problems("port 3", "no target"), late)).To(Equal("apply x (1): port 3; no target"))
	g.Expect(Message(batch, problems("port 3", "no storage"), soon)).To(Equal("apply x (1): port 3; no storage"))
	g.Expect(Message(batch, []Problem{{Text: "no target"}}, soon)).To(Equal("no target"))

	long := strings.Repeat("x", 3000)
	NotReady(batch, v1alpha1.ReasonReconcileFailed, Message(batch, problems(long, long), late))
	before := conditions.GetMessage(batch, meta.ReadyCondition)
	g.Expect(Message(batch, problems("y"+long, long), soon)).To(Equal(before), "messages that are cut")
}

// What says the same problem needs no other words for a while.
func TestSays(t *testing.T) {
	g := NewWithT(t)
	o := &v1alpha1.Snapshot{}
	const reason = v1alpha1.ReasonCreationRefused
	conditions.MarkFalse(o, v1alpha1.ConditionWiped, reason, "refused: port 1")
	now := conditions.GetLastTransitionTime(o, v1alpha1.ConditionWiped).Add(time.Minute)
	p := Problem{Text: "refused: ", Words: "port 2"}
	g.Expect(Says(o, v1alpha1.ConditionWiped, reason, p, now)).To(BeTrue())
	g.Expect(Says(o, v1alpha1.ConditionMaintained, reason, p, now)).To(BeFalse(), "another condition")
	g.Expect(Says(o, v1alpha1.ConditionWiped, v1alpha1.ReasonInUse, p, now)).To(BeFalse(), "another reason")
	g.Expect(Says(o, v1alpha1.ConditionWiped, reason, Problem{Text: "it: "}, now)).To(BeFalse(), "another problem")
	g.Expect(Says(o, v1alpha1.ConditionWiped, reason, p, now.Add(wordsInterval))).To(BeFalse(), "old words")
	g.Expect(Says(o, v1alpha1.ConditionWiped, reason, p, now.Add(-wordsInterval))).To(BeFalse(), "of the future")
	conditions.MarkTrue(o, v1alpha1.ConditionWiped, reason, "refused: port 1")
	g.Expect(Says(o, v1alpha1.ConditionWiped, reason, p, now)).To(BeFalse(), "it holds")
}
