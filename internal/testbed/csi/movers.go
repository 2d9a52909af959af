package csi

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// TakeSnapshots does what the mover of a Job does together with the driver: it creates the VolumeSnapshots of the Job's
// task, each ready and with a content of its own. It returns how the Job ends.
func TakeSnapshots(t testing.TB, c client.Client, job *batchv1.Job) kubelet.Outcome {
	t.Helper()
	work := kubelet.TaskOf(job)
	r := task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	for _, component := range work.Components {
		s := volumesnapshot.New(work.Namespace, component.Snapshot.Names[0], component.Snapshot.Claim,
			component.Snapshot.Class, map[string]string{
				v1alpha1.LabelManagedBy:     v1alpha1.ManagedByCairn,
				v1alpha1.LabelSnapshot:      policy.LabelValue(work.Snapshot.Name),
				v1alpha1.LabelBackupSession: work.Snapshot.Labels[v1alpha1.LabelBackupSession],
			}, map[string]string{
				v1alpha1.AnnotationSnapshotUID: string(work.Snapshot.UID), v1alpha1.AnnotationJob: job.Name,
			})
		if err := c.Create(t.Context(), s); apierrors.IsAlreadyExists(err) {
			must(t, c.Get(t.Context(), client.ObjectKeyFromObject(s), s))
		} else {
			must(t, err)
			Ready(t, c, s)
		}
		r.Components = append(r.Components, task.ComponentResult{
			Name: component.Name, Outcome: task.OutcomeSucceeded, ID: string(s.UID), SizeBytes: 1 << 30,
		})
	}
	return kubelet.Report(r)
}

// Provision does what the mover of a Job that makes claims does together with the driver, or what the pod that mounts
// them does. It returns how the Job ends.
func Provision(t testing.TB, c client.Client, job *batchv1.Job) kubelet.Outcome {
	t.Helper()
	work := kubelet.TaskOf(job)
	r := task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	for _, component := range work.Components {
		if component.Claim != nil {
			claim := component.Claim.Object.DeepCopy()
			if err := c.Create(t.Context(), claim); !apierrors.IsAlreadyExists(err) {
				must(t, err)
			}
			if component.Claim.Wait {
				Bind(t, c, claim.Namespace, claim.Name)
			}
		}
		r.Components = append(r.Components, task.ComponentResult{Name: component.Name, Outcome: task.OutcomeSucceeded})
	}
	if work.Kind == task.KindVolumeMount {
		for _, v := range job.Spec.Template.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				Bind(t, c, job.Namespace, v.PersistentVolumeClaim.ClaimName)
			}
		}
	}
	return kubelet.Report(r)
}
