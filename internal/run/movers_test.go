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
	failed := func(reason string) run.Job {
		return run.Job{Observation: observe.Observation{State: observe.StateFailed, Reason: reason}}
	}
	jobs := map[string]run.Job{
		"a": {}, "b": failed("Evicted"), "b-2": {}, "c": {}, "d": failed("Evicted"),
		"e": failed("two words\nof a mover"), "f": failed("Evicted"),
	}
	reason := func(component string) string {
		return map[string]string{
			"pod-2": "DeadlineExceeded", "pod-3": "JobVanished", "pod-4": "two words\nof a mover",
		}[component]
	}
	own := func(component, job string) bool { return component == "pod-3" && job == "gone" }
	flood := strings.Builder{}
	for i := range 35_000 {
		fmt.Fprintf(&flood, "x%d=y%d,", i, i)
	}
	for name, tt := range map[string]struct {
		before, after  string
		names, reasons []string
	}{
		"a new mover fences nobody": {after: "pod-0=a"},
		"nothing changes":           {before: "pod-0=a,pod-1=b", after: "pod-0=a,pod-1=b"},
		"one has a successor, one is given up with both of its components": {
			before: "pod-0=a,pod-1=b,pod-2=c,log-2=c", after: "pod-0=a,pod-1=b-2",
			names: []string{"b", "c"}, reasons: []string{"DeadlineExceeded", "Evicted"},
		},
		"a Job that is gone": {
			before: "pod-3=gone", names: []string{"gone"}, reasons: []string{"JobVanished"},
		},
		"a user writes what the run never made": {
			before: flood.String() + "pod-1=d,pod-3=removed namespace prod",
			names:  []string{"d"}, reasons: []string{"Evicted"},
		},
		"a mover reports what is no reason": {
			before: "pod-0=e,pod-1=f,pod-4=c,pod-5=a",
			names:  []string{"a", "c", "e", "f"}, reasons: []string{"Evicted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			names, reasons := run.Fenced(tt.before, tt.after, jobs, reason, own)
			g.Expect(names).To(Equal(tt.names))
			g.Expect(reasons).To(Equal(tt.reasons))
		})
	}
}

func TestAttemptsHaveNamesOfTheirOwn(t *testing.T) {
	g := NewWithT(t)
	g.Expect(run.JobName("s", "pod-1", 1)).NotTo(Equal(run.JobName("s", "pod-1", 2)))
	g.Expect(run.JobName("s", "pod-1", 2)).NotTo(Equal(run.JobName("s", "pod-1-2", 1)))
}
