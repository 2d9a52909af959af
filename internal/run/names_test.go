package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
)

func TestSnapshotID(t *testing.T) {
	g := NewWithT(t)
	slot := time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC)
	id := backup.SnapshotID(slot, "uid", "name")
	g.Expect(id).To(MatchRegexp("^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))
	g.Expect(backup.SnapshotID(slot, "uid", "name")).To(Equal(id), "a repeated reconcile must get the same ID")
	g.Expect(backup.SnapshotID(slot, "uid2", "name")).NotTo(Equal(id))
	g.Expect(backup.SnapshotID(slot, "uidn", "ame")).NotTo(Equal(id))
	g.Expect(backup.SnapshotID(slot.Add(time.Millisecond), "uid", "name") > id).To(BeTrue(), "IDs sort by time")
	// The example of the ULID specification. The first ten characters are the time.
	g.Expect(backup.SnapshotID(time.UnixMilli(1469918176385))[:10]).To(Equal("01ARYZ6S41"))
}

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

func TestAttemptsHaveNamesOfTheirOwn(t *testing.T) {
	g := NewWithT(t)
	g.Expect(run.JobName("s", "pod-1", 1)).NotTo(Equal(run.JobName("s", "pod-1", 2)))
	g.Expect(run.JobName("s", "pod-1", 2)).NotTo(Equal(run.JobName("s", "pod-1-2", 1)))
}

func TestFormatDuration(t *testing.T) {
	g := NewWithT(t)
	g.Expect(text.Duration(41*time.Second + 499*time.Millisecond)).To(Equal("41s"))
	g.Expect(text.Duration(time.Hour + 2*time.Minute + 3*time.Second)).To(Equal("1h2m3s"))
	g.Expect(text.Duration(-time.Minute)).To(Equal("0s"))
}

func TestChooseComponents(t *testing.T) {
	snapshot := func(names ...string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{}}}
		for _, n := range names {
			s.Status.Components[n] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k"}
		}
		if len(names) > 2 {
			s.Status.Components[names[2]] = v1alpha1.Component{Phase: v1alpha1.SnapshotFailed}
		}
		return s
	}
	tests := map[string]struct {
		have, asked []string
		want        []string
		message     string
	}{
		"the only one": {have: []string{"pvc"}, want: []string{"pvc"}},
		"the one asked for": {have: []string{"pod-0", "pod-1"}, asked: []string{"pod-1"}, want: []string{
			"pod-1",
		}},
		"all":                     {have: []string{"pod-1", "pod-0"}, want: []string{"pod-0", "pod-1"}},
		"one that does not exist": {have: []string{"pod-0"}, asked: []string{"pod-7"}, message: "pod-0"},
		"one without data": {
			have: []string{"pod-0", "pod-1", "pod-2"}, message: "component pod-2 of Snapshot  has no data",
		},
		"none at all": {message: "no components"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := restore.ChooseComponents(snapshot(tt.have...), tt.asked)
			g.Expect(got).To(Equal(tt.want))
			if tt.message != "" {
				g.Expect(err.Reason).To(Equal(v1alpha1.ReasonComponentNotFound))
				g.Expect(err.Message).To(ContainSubstring(tt.message))
			}
		})
	}
}
