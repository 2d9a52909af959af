package movers

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/run"
)

// maxWarnings limits the events that Explain reads. The API server keeps events for an hour.
const maxWarnings = 500

// Explain adds the cluster's warning events to Jobs that failed without any other explanation: why no pod could be
// created, or why it could not start. live reads past the cache. It is called only if there is such a Job.
func Explain(ctx context.Context, live client.Reader, namespace string, jobs map[string]run.Job) error {
	needed := false
	for _, job := range jobs {
		needed = needed || job.NeedsExplanation()
	}
	if !needed {
		return nil
	}
	var events corev1.EventList
	kind := client.MatchingFields{"type": corev1.EventTypeWarning}
	if err := live.List(ctx, &events, client.InNamespace(namespace), kind, client.Limit(maxWarnings)); err != nil {
		return fmt.Errorf("list warning events in namespace %s: %w", namespace, err)
	}
	for name, job := range jobs {
		if job.NeedsExplanation() {
			for i := range events.Items {
				if about(&events.Items[i].InvolvedObject, name) {
					job.Explain(events.Items[i].Reason, events.Items[i].Message)
				}
			}
			jobs[name] = job
		}
	}
	return nil
}

// about reports whether an event is about a Job or a pod of it. The name of a pod is that of the Job and a suffix
// without a dash.
func about(o *corev1.ObjectReference, job string) bool {
	switch o.Kind {
	case "Job":
		return o.Name == job
	case "Pod":
		suffix, ok := strings.CutPrefix(o.Name, job+"-")
		return ok && !strings.Contains(suffix, "-")
	default:
		return false
	}
}
