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
