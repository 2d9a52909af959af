package observe_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestExplain(t *testing.T) {
	for name, tc := range map[string]struct{ reason, event, message, want, says string }{
		"a quota": {
			v1alpha1.ReasonPodNotCreated, "FailedCreate",
			`pods "j-x" is forbidden: exceeded quota: small, requested: pods=1`,
			v1alpha1.ReasonQuotaExceeded, "exceeded quota: small",
		},
		"a quota that wants limits": {
			v1alpha1.ReasonPodNotCreated, "FailedCreate",
			`pods "j-x" is forbidden: failed quota: small: must specify limits.cpu`,
			v1alpha1.ReasonQuotaExceeded, "must specify limits.cpu",
		},
		"an admission policy": {
			v1alpha1.ReasonPodNotCreated, "FailedCreate", `violates PodSecurity "restricted"`,
			v1alpha1.ReasonPodNotCreated, "violates PodSecurity",
		},
		"a volume that can't be mounted": {
			v1alpha1.ReasonPodNotStarted, "FailedMount", "no such share", v1alpha1.ReasonVolumeMountFailed,
			"no such share",
		},
		"a volume that can't be attached": {
			v1alpha1.ReasonPodNotStarted, "FailedAttachVolume", "Multi-Attach error", v1alpha1.ReasonVolumeMountFailed,
			"Multi-Attach",
		},
		"no network": {
			v1alpha1.ReasonPodNotStarted, "FailedCreatePodSandBox", "no addresses", v1alpha1.ReasonPodNotStarted,
			"no addresses",
		},
		"another event": {
			v1alpha1.ReasonPodNotStarted, "Unhealthy", "x", v1alpha1.ReasonPodNotStarted, "before",
		},
		"another observation": {
			v1alpha1.ReasonJobFailed, "FailedCreate", "x", v1alpha1.ReasonJobFailed, "before",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := observe.Observation{State: observe.StateFailed, Reason: tc.reason, Message: "before"}
			g.Expect(o.NeedsExplanation()).To(Equal(tc.reason != v1alpha1.ReasonJobFailed))
			o.Explain(tc.event, tc.message)
			g.Expect(o.Reason).To(Equal(tc.want))
			g.Expect(o.Message).To(ContainSubstring(tc.says))
		})
	}
	waiting := observe.Observation{State: observe.StateWaiting, Reason: v1alpha1.ReasonPodNotCreated}
	NewWithT(t).Expect(waiting.NeedsExplanation()).To(BeFalse(), "the pod can still come")
}
