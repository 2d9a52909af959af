package run_test

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// Who looks at a run must see that it stands still.
func TestReadyQuotesWhatIsRefused(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	at := time.Date(2026, 5, 7, 10, 0, 0, 0, time.UTC)
	var cs []metav1.Condition
	ready := func() string {
		c := apimeta.FindStatusCondition(cs, meta.ReadyCondition)
		return string(c.Status) + " " + c.Reason + " " + c.Message
	}
	refuse := func(message string) *run.Event { return run.ReportRefused(&cs, message, 1, at) }

	run.Progress(&cs, v1alpha1.ReasonRunning, "the restore runs", 1, at)
	g.Expect(refuse("exceeded quota")).NotTo(BeNil())
	g.Expect(ready()).To(Equal("Unknown CreationRefused waiting: exceeded quota"))
	g.Expect(refuse("exceeded quota")).To(BeNil(), "it is known")
	g.Expect(refuse("another quota")).To(BeNil())
	g.Expect(ready()).To(Equal("Unknown CreationRefused waiting: another quota"))
	g.Expect(refuse("")).To(BeNil())
	g.Expect(ready()).To(Equal("Unknown Running the restore runs"), "the refusal has passed")

	wait := func() *run.Event {
		return run.Wait(&cs, v1alpha1.ReasonSuspended, "waiting: Job j is suspended", 1, at)
	}
	g.Expect(wait()).NotTo(BeNil())
	refuse("exceeded quota")
	g.Expect(ready()).To(Equal("Unknown Suspended waiting: Job j is suspended"), "another host waits for that")
	g.Expect(wait()).To(BeNil(), "no event at each step")

	run.Conclude(&cs, true, v1alpha1.ReasonSucceeded, "restored", 1, at)
	refuse("")
	g.Expect(ready()).To(Equal("True Succeeded restored"))
}
