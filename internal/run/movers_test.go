package run_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestMoversSurviveTheAnnotation(t *testing.T) {
	g := NewWithT(t)
	in := map[string]string{"pod-1": "backup-b", "pod-0": "backup-a"}
	g.Expect(run.FormatMovers(in)).To(Equal("pod-0=backup-a,pod-1=backup-b"))
	g.Expect(run.ParseMovers(run.FormatMovers(in))).To(Equal(in))
	g.Expect(run.ParseMovers("")).To(BeEmpty())
}

func TestFenced(t *testing.T) {
	g := NewWithT(t)
	jobs := map[string]run.Job{"a": {}, "b": {}, "b-2": {}, "c": {}}
	g.Expect(run.Fenced("", "pod-0=a", jobs)).To(BeEmpty(), "a new mover fences nobody")
	g.Expect(run.Fenced("pod-0=a,pod-1=b", "pod-0=a,pod-1=b", jobs)).To(BeEmpty())
	g.Expect(run.Fenced("pod-0=a,pod-1=b,pod-2=c,log-2=c", "pod-0=a,pod-1=b-2", jobs)).
		To(Equal([]string{"b", "c"}), "one has a successor, one was given up with both of its components")

	flood := strings.Builder{}
	for i := range 35_000 {
		fmt.Fprintf(&flood, "x%d=y%d,", i, i)
	}
	g.Expect(run.Fenced(flood.String()+"pod-2=c", "", jobs)).
		To(Equal([]string{"c"}), "only Jobs that exist are named, whatever a user writes into the annotation")
}

func TestFailureReasons(t *testing.T) {
	g := NewWithT(t)
	failed := func(reason string) run.Job {
		return run.Job{Observation: observe.Observation{State: observe.StateFailed, Reason: reason}}
	}
	jobs := map[string]run.Job{
		"a": failed("PodDeleted"), "b": failed("Evicted"), "c": failed("Evicted"), "d": failed("NodeLost"),
		"e": {Observation: observe.Observation{State: observe.StateRunning, Reason: "Running"}},
	}
	g.Expect(run.FailureReasons([]string{"a", "b", "c", "e", "gone"}, jobs)).
		To(Equal([]string{"Evicted", "PodDeleted"}))
}

func TestAttemptsHaveNamesOfTheirOwn(t *testing.T) {
	g := NewWithT(t)
	g.Expect(run.JobName("s", "pod-1", 1)).NotTo(Equal(run.JobName("s", "pod-1", 2)))
	g.Expect(run.JobName("s", "pod-1", 2)).NotTo(Equal(run.JobName("s", "pod-1-2", 1)))
}
