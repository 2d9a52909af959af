package task_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

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

// A pod can be made to report anything. What the API does not take would hold up the run, and a failure that calls
// itself Succeeded would end it as a success.
func TestReasonsOfAMoverAreChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		outcome task.Outcome
		reason  string
		want    string
	}{
		"a failure":                        {task.OutcomeFailed, "StorageFull", "StorageFull"},
		"a failure without a reason":       {task.OutcomeFailed, "", ""},
		"a failure that calls it success":  {task.OutcomeFailed, v1alpha1.ReasonSucceeded, v1alpha1.ReasonFailed},
		"a failure of two words":           {task.OutcomeFailed, "two words\nof a mover", v1alpha1.ReasonFailed},
		"a failure with a colon":           {task.OutcomeFailed, "Text_of:x42", v1alpha1.ReasonFailed},
		"a failure with a long word":       {task.OutcomeFailed, strings.Repeat("A", 64), v1alpha1.ReasonFailed},
		"a success":                        {task.OutcomeSucceeded, v1alpha1.ReasonSucceeded, v1alpha1.ReasonSucceeded},
		"a success without a reason":       {task.OutcomeSucceeded, "", ""},
		"a success with a text":            {task.OutcomeSucceeded, "it is done", ""},
		"a component that is not verified": {task.OutcomeUnknown, v1alpha1.ReasonSucceeded, v1alpha1.ReasonFailed},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := task.Result{Outcome: tt.outcome, Reason: tt.reason, Components: []task.ComponentResult{
				{Name: "a", Outcome: tt.outcome, Reason: tt.reason},
			}}
			if tt.outcome == task.OutcomeUnknown { // only of components
				in.Outcome = task.OutcomeFailed
			}
			b, err := task.EncodeResult(in)
			g.Expect(err).NotTo(HaveOccurred())
			out, err := task.DecodeResult(string(b))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(out.Reason).To(Equal(tt.want))
			g.Expect(out.Components).To(HaveExactElements(HaveField("Reason", tt.want)))
		})
	}
}

// What is longer than the API allows would be refused with each write of the status.
func TestTheReportOfAMoverKeepsTheLimitsOfTheAPI(t *testing.T) {
	g := NewWithT(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	b, err := json.Marshal(task.Result{
		Version: task.Version, Outcome: task.OutcomeSucceeded, Message: long(3000),
		Components: []task.ComponentResult{
			{Name: "fits", Outcome: task.OutcomeSucceeded, ID: long(128), Duration: long(32), Error: long(2048)},
			{Name: "long", Outcome: task.OutcomeSucceeded, ID: long(129), Duration: long(33)},
			{Name: "error", Outcome: task.OutcomeFailed, Reason: "StorageFull", Error: long(2049)},
		},
	})
	g.Expect(err).NotTo(HaveOccurred())
	out, err := task.DecodeResult(string(b))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(out.Message)).To(BeNumerically("<=", 2048))
	g.Expect(out.Components).To(HaveLen(3))
	g.Expect(out.Components[0]).To(Equal(task.ComponentResult{
		Name: "fits", Outcome: task.OutcomeSucceeded, ID: long(128), Duration: long(32), Error: long(2048),
	}))
	g.Expect(out.Components[1]).To(Equal(task.ComponentResult{
		Name: "long", Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonFailed,
		Error: "the mover reported an ID of 129 bytes: the longest ID has 128",
	}), "a part of an ID names no data")
	g.Expect(len(out.Components[2].Error)).To(BeNumerically("<=", 2048))
	g.Expect(out.Components[2].Reason).To(Equal("StorageFull"))
}

// A time that the API server can't hold would be refused with each write of the status.
func TestTimesOfAMoverAreChecked(t *testing.T) {
	for reported, want := range map[string]string{
		"2026-11-24T12:00:00Z":      "2026-11-24T12:00:00Z",
		"1970-01-01T00:00:00Z":      "1970-01-01T00:00:00Z",
		"9999-12-31T23:59:59Z":      "9999-12-31T23:59:59Z",
		"9999-12-31T23:59:59-23:59": "",
		"0000-01-01T00:00:00+23:59": "",
		"0001-01-01T00:00:00Z":      "",
		"1969-12-31T23:59:59Z":      "",
	} {
		t.Run(reported, func(t *testing.T) {
			g := NewWithT(t)
			component := fmt.Sprintf(`{"name":"a","outcome":"Succeeded","start":%q,"end":%[1]q}`, reported)
			out, err := task.DecodeResult(`{"version":1,"outcome":"Succeeded","components":[` + component + `]}`)
			g.Expect(err).NotTo(HaveOccurred())
			for _, got := range []*metav1.Time{out.Components[0].StartTime, out.Components[0].CompletionTime} {
				if want == "" {
					g.Expect(got).To(BeNil())
					continue
				}
				g.Expect(got.UTC().Format(time.RFC3339)).To(Equal(want))
			}
		})
	}
}

// Counts and sizes are added up: a negative one would hide what another mover left out.
func TestNumbersOfAMoverAreChecked(t *testing.T) {
	for reported, want := range map[int64]struct{ count, size int64 }{
		12: {12, 12}, 0: {0, 0}, -12: {0, 0}, math.MinInt64: {0, 0}, 1 << 50: {1 << 40, 1 << 50},
		math.MaxInt64: {1 << 40, 1 << 52},
	} {
		t.Run(strconv.FormatInt(reported, 10), func(t *testing.T) {
			g := NewWithT(t)
			in := task.ComponentResult{Name: "a", Outcome: task.OutcomeSucceeded}
			numbers := 0
			for v := range fieldsOf(&in) {
				v.SetInt(reported)
				numbers++
			}
			g.Expect(numbers).To(BeNumerically(">", 20))
			g.Expect(want.size).To(BeNumerically("<", int64(math.MaxInt64/2000)), "a status has 2,000 components")
			out := decode(g, in)
			for v, name := range fieldsOf(&out) {
				if strings.HasSuffix(name, "Bytes") {
					g.Expect(v.Int()).To(Equal(want.size), name)
					continue
				}
				g.Expect(v.Int()).To(Equal(want.count), name)
			}
		})
	}
}

// fieldsOf yields each number that a component reports, with the name of its field.
func fieldsOf(c *task.ComponentResult) iter.Seq2[reflect.Value, string] {
	return func(yield func(reflect.Value, string) bool) {
		v := reflect.ValueOf(c).Elem()
		for _, f := range reflect.VisibleFields(v.Type()) {
			if f.Type.Kind() == reflect.Int64 && !yield(v.FieldByIndex(f.Index), f.Name) {
				return
			}
		}
	}
}

// The limits of a report are those of the generated CRDs.
func TestTheLimitsOfAReportAreThoseOfTheAPI(t *testing.T) {
	for _, file := range []string{"backup.cairn.dev_snapshots.yaml", "backup.cairn.dev_restoresessions.yaml"} {
		t.Run(file, func(t *testing.T) {
			g := NewWithT(t)
			content, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", file))
			g.Expect(err).NotTo(HaveOccurred())
			var crd apiextensionsv1.CustomResourceDefinition
			g.Expect(yaml.UnmarshalStrict(content, &crd)).To(Succeed())
			status := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]
			component := status.Properties["components"].AdditionalProperties.Schema.Properties
			long := strings.Repeat("x", 3000)
			out := decode(g, task.ComponentResult{Outcome: task.OutcomeFailed, Error: long})
			g.Expect(len(out.Error)).To(BeNumerically("<=", *component["error"].MaxLength))
			out = decode(g, task.ComponentResult{
				Outcome: task.OutcomeSucceeded, ID: long[:*component["id"].MaxLength],
				Duration: long[:*component["duration"].MaxLength],
			})
			g.Expect(out.Outcome).To(Equal(task.OutcomeSucceeded))
			g.Expect(out.ID).To(HaveLen(int(*component["id"].MaxLength)))
			g.Expect(out.Duration).To(HaveLen(int(*component["duration"].MaxLength)))
			out = decode(g, task.ComponentResult{
				Outcome: task.OutcomeSucceeded, ID: long[:*component["id"].MaxLength+1],
				Duration: long[:*component["duration"].MaxLength+1],
			})
			g.Expect(out.Outcome).To(Equal(task.OutcomeFailed))
			g.Expect(out.ID).To(BeEmpty())
			g.Expect(out.Duration).To(BeEmpty())
		})
	}
}

// decode returns what is read of a component that a mover reports.
func decode(g *WithT, c task.ComponentResult) task.ComponentResult {
	message, err := json.Marshal(task.Result{
		Version: task.Version, Outcome: task.OutcomeSucceeded, Components: []task.ComponentResult{c},
	})
	g.Expect(err).NotTo(HaveOccurred())
	out, err := task.DecodeResult(string(message))
	g.Expect(err).NotTo(HaveOccurred())
	return out.Components[0]
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
