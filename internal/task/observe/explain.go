package observe

import (
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// NeedsExplanation reports whether events of the cluster can explain the observation better than the Job and its pods:
// why no pod could be created, or why a pod could not start.
func (o *Observation) NeedsExplanation() bool {
	return o.State == StateFailed && (o.Reason == v1alpha1.ReasonPodNotCreated ||
		o.Reason == v1alpha1.ReasonPodNotStarted)
}

// Explain adds the explanation of an event of the Job or its pod to the observation.
func (o *Observation) Explain(reason, message string) {
	switch {
	case o.Reason == v1alpha1.ReasonPodNotCreated && reason == "FailedCreate":
		if strings.Contains(message, "exceeded quota") || strings.Contains(message, "failed quota") {
			o.Reason = v1alpha1.ReasonQuotaExceeded
		}
		o.Message = "no pod could be created: " + text.Cut(message, 512)
	case o.Reason == v1alpha1.ReasonPodNotStarted && (reason == "FailedMount" || reason == "FailedAttachVolume" ||
		reason == "FailedMapVolume"):
		o.Reason, o.Message = v1alpha1.ReasonVolumeMountFailed, "the node cannot mount a volume of the pod: "+
			text.Cut(message, 512)
	case o.Reason == v1alpha1.ReasonPodNotStarted && reason == "FailedCreatePodSandBox":
		o.Message = "the node cannot give the pod a network: " + text.Cut(message, 512)
	}
}
