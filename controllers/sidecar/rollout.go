package sidecar

import (
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// rollout is the progress of the replacement of a workload's pods.
type rollout struct {
	done, failed bool
	// message says what a user must do before the rollout goes on, or is empty.
	message string
}

// rolloutOf reads the progress from the workload's status.
func rolloutOf(o client.Object) (rollout, error) {
	if waits := waiting(o); waits != "" {
		return rollout{message: waits}, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return rollout{}, fmt.Errorf("convert %s: %w", o.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	result, err := status.Compute(u)
	if err != nil {
		return rollout{}, fmt.Errorf("compute status of %s: %w", o.GetName(), err)
	}
	return rollout{done: result.Status == status.CurrentStatus, failed: result.Status == status.FailedStatus}, nil
}

// waiting returns what a user must do before the rollout of a workload goes on, or "".
func waiting(o client.Object) string {
	switch w := o.(type) {
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

// follow checks the rollout that brings the sidecar.
func (r *Reconciler) follow(l *looking) error {
	if l.found.Image == "" || l.state.RolledOut {
		return nil
	}
	rollout, err := rolloutOf(l.workload.Object)
	if err != nil {
		return err
	}
	now, name := metav1.NewTime(r.Clock.Now()), l.workload.describe()
	if l.state.Since == nil {
		l.state.Since = &now
	}
	switch {
	case rollout.done:
		l.state.RolledOut, l.state.Since = true, nil
		return nil
	case rollout.message != "":
		l.refuse(v1alpha1.ReasonSidecarRolloutInProgress, "%s waits for pods with the sidecar: %s", name, rollout.message)
	case rollout.failed, now.Sub(l.state.Since.Time) > rolloutPatience:
		l.refuse(v1alpha1.ReasonSidecarRolloutFailed,
			"the pods of %s are not being replaced by pods with the sidecar: find the cause with kubectl describe, or set "+
				"executor Job", name)
	default:
		l.refuse(v1alpha1.ReasonSidecarRolloutInProgress, "the pods of %s are being replaced by pods with the sidecar", name)
	}
	l.lookAgain(rolloutInterval)
	return nil
}
