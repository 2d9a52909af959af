package task_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

func TestAResultAlwaysFitsIntoATerminationMessage(t *testing.T) {
	for components := range 64 {
		for _, length := range []int{0, 100, 5000} {
			g := NewWithT(t)
			in := task.Result{
				Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreadable,
				Message: strings.Repeat("ä\n", length),
			}
			for i := range components {
				in.Components = append(in.Components, task.ComponentResult{
					Name: fmt.Sprintf("%s-%d", strings.Repeat("n", 60), i), Outcome: task.OutcomeSucceeded,
					ID:        strings.Repeat("f", 32),
					SizeBytes: 1 << 40, Error: strings.Repeat("é", length),
				})
			}
			b, err := task.EncodeResult(in)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(len(b)).To(BeNumerically("<=", task.MaxResultBytes))
			out, err := task.DecodeResult(string(b))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(len(out.Components) + out.Omitted).To(Equal(components))
			g.Expect(out.Reason).To(Equal(in.Reason))
			for i, c := range out.Components {
				g.Expect(c.ID).To(Equal(in.Components[i].ID), "ids are never cut")
			}
		}
	}
}

func TestAnotherProgramsMessageIsNoResult(t *testing.T) {
	g := NewWithT(t)
	for _, message := range []string{"", "panic: oops", "{}", `{"version":1}`, `{"version":9,"outcome":"Succeeded"}`} {
		_, err := task.DecodeResult(message)
		g.Expect(err).To(HaveOccurred(), message)
	}
}

func TestSizesAreWrittenAsKubeStashWritesThem(t *testing.T) {
	g := NewWithT(t)
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1024 B", 1025: "1.001 KiB", 1 << 20: "1024.000 KiB", 1<<20 + 1: "1.000 MiB",
		12816155: "12.222 MiB",
		1 << 30:  "1024.000 MiB", 3 << 30: "3.000 GiB", 1 << 40: "1024.000 GiB", 5 << 40: "5.000 TiB",
		5 << 50: "5120.000 TiB",
	} {
		g.Expect(task.FormatSize(n)).To(Equal(want))
	}
}

func TestExitCodesFollowTheReason(t *testing.T) {
	g := NewWithT(t)
	g.Expect(task.ExitCode(v1alpha1.ReasonSucceeded)).To(Equal(0))
	g.Expect(task.ExitCode(v1alpha1.ReasonVolumeNotEmpty)).To(Equal(task.ExitTarget))
	g.Expect(task.ExitCode("SomethingElse")).To(Equal(task.ExitFailed))
}
