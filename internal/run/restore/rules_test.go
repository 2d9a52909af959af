package restore_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

func TestApplyRules(t *testing.T) {
	rule := func(source string, targets ...string) v1alpha1.RestoreRule {
		return v1alpha1.RestoreRule{SourceHost: source, TargetHosts: targets}
	}
	one, two := []string{"pod-0", "pod-1", "pod-10"}, []string{"pod-0-data", "pod-0-logs", "pod-1-data", "pod-1-logs"}
	for name, tt := range map[string]struct {
		all     []string
		rules   []v1alpha1.RestoreRule
		want    []string // <component>=<source>
		reason  string
		message string
	}{
		"each named pod its own data": {
			all: one, rules: []v1alpha1.RestoreRule{rule("", "pod-1", "pod-0")}, want: []string{"pod-1=", "pod-0="},
		},
		"data of another pod": {
			all: one, rules: []v1alpha1.RestoreRule{rule("pod-1", "pod-7")}, want: []string{"pod-7=pod-1"},
		},
		"data of one pod for all": {
			all: one, rules: []v1alpha1.RestoreRule{rule("pod-0", "pod-0", "pod-1", "pod-2")}, want: []string{
				"pod-0=", "pod-1=pod-0", "pod-2=pod-0",
			},
		},
		"all volumes": {
			all: two, rules: []v1alpha1.RestoreRule{rule("pod-1", "pod-0"), rule("", "pod-1")},
			want: []string{"pod-0-data=pod-1-data", "pod-0-logs=pod-1-logs", "pod-1-data=", "pod-1-logs="},
		},
		"a pod that was not backed up": {
			all: one, rules: []v1alpha1.RestoreRule{rule("", "pod-5")}, reason: v1alpha1.ReasonComponentNotFound,
			message: "has no component of pod-5",
		},
		"a pod twice": {
			all: one, rules: []v1alpha1.RestoreRule{rule("", "pod-0"), rule("pod-1", "pod-0")},
			reason: v1alpha1.ReasonInvalidParameters, message: "name pod-0 twice",
		},
		"a component that is no pod's": {
			all: []string{"pvc"}, rules: []v1alpha1.RestoreRule{rule("", "pod-0")},
			reason: v1alpha1.ReasonComponentNotFound, message: "it has: pvc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			components, sources, err := restore.ApplyRules(tt.rules, tt.all)
			if tt.reason != "" {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(tt.reason))
				g.Expect(err.Message).To(ContainSubstring(tt.message))
				return
			}
			g.Expect(err).To(BeNil())
			var got []string
			for _, c := range components {
				got = append(got, fmt.Sprintf("%s=%s", c, sources[c]))
			}
			g.Expect(got).To(Equal(tt.want))
		})
	}
}
