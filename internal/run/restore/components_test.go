package restore_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

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
