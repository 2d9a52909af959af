package sidecar

import (
	"fmt"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// rolloutInterval is the interval at which a rollout is checked.
	rolloutInterval = 5 * time.Second
	// rolloutPatience is how long a rollout is allowed to take before it is reported. Kubernetes itself reports that
	// only for Deployments.
	rolloutPatience = 10 * time.Minute
)

// Workload is a Deployment, a StatefulSet or a DaemonSet.
type Workload interface {
	metav1.Object
	runtime.Object
}

// Rollout is the progress of the replacement of a workload's pods.
type Rollout struct {
	// Done reports that all pods are new, Failed that Kubernetes has given up.
	Done, Failed bool
	// Waits says what a user must do before the rollout goes on. It is empty if the rollout waits for nobody.
	Waits string
}

// RolloutOf reads the progress from the workload's status. The workload must name its kind.
func RolloutOf(w Workload) (Rollout, error) {
	if waits := waitsFor(w); waits != "" {
		return Rollout{Waits: waits}, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w)
	if err != nil {
		return Rollout{}, fmt.Errorf("convert %s: %w", w.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(w.GetObjectKind().GroupVersionKind())
	result, err := status.Compute(u)
	if err != nil {
		return Rollout{}, fmt.Errorf("compute status of %s: %w", w.GetName(), err)
	}
	return Rollout{Done: result.Status == status.CurrentStatus, Failed: result.Status == status.FailedStatus}, nil
}

// waitsFor returns what a user must do before the rollout of a workload goes on, or "".
func waitsFor(w Workload) string {
	switch w := w.(type) {
	case *appsv1.Deployment:
		if w.Spec.Paused {
			return "the Deployment is paused"
		}
	case *appsv1.StatefulSet:
		if w.Status.ObservedGeneration < w.Generation {
			return ""
		}
		replicas := int32(1)
		if w.Spec.Replicas != nil {
			replicas = *w.Spec.Replicas
		}
		if w.Status.UpdatedReplicas >= replicas {
			return ""
		}
		if w.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
			return "its updateStrategy is OnDelete: delete its pods, one after the other"
		}
		if u := w.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil && *u.Partition > 0 {
			return fmt.Sprintf("its updateStrategy has the partition %d: pods with smaller numbers are not replaced",
				*u.Partition)
		}
	case *appsv1.DaemonSet:
		if w.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType &&
			w.Status.ObservedGeneration >= w.Generation &&
			w.Status.UpdatedNumberScheduled < w.Status.DesiredNumberScheduled {
			return "its updateStrategy is OnDelete: delete its pods, one after the other"
		}
	}
	return ""
}

// Follow records how far the rollout is that brings the sidecar to the pods. It returns when to look again; 0 means
// that the rollout is over. workload names the workload in messages.
func (s *State) Follow(rollout Rollout, workload string, now time.Time) time.Duration {
	if s.Since == nil || s.Since.Sub(now) > rolloutPatience { // a clock that was ahead has written it
		s.Since = &metav1.Time{Time: now}
	}
	switch {
	case rollout.Done:
		s.RolledOut, s.Since = true, nil
		return 0
	case rollout.Waits != "":
		s.Refuse(v1alpha1.ReasonSidecarRolloutInProgress, "%s waits for pods with the sidecar: %s", workload,
			rollout.Waits)
	case rollout.Failed, now.Sub(s.Since.Time) > rolloutPatience:
		s.Refuse(v1alpha1.ReasonSidecarRolloutFailed,
			"the pods of %s are not being replaced by pods with the sidecar: find the cause with kubectl describe, "+
				"or set "+
				"executor Job", workload)
	default:
		s.Refuse(v1alpha1.ReasonSidecarRolloutInProgress, "the pods of %s are being replaced by pods with the sidecar",
			workload)
	}
	return rolloutInterval
}
