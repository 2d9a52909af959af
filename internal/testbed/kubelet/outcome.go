package kubelet

import (
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// Outcome is how a Job ends.
type Outcome struct {
	// Result is the mover's termination message. Nil means that the mover died without a report.
	Result *task.Result
	// Step names the container of a step that failed before the mover.
	Step string
	// Function is how the container of a hook's Job ended. It is nil for a mover.
	Function *FunctionEnd
	// Hang leaves the Job running.
	Hang bool
}

// FunctionEnd is how the container of a Function ended.
type FunctionEnd struct {
	// Code is its exit code.
	Code int32
	// Log is the end of its output.
	Log string
}

// Report returns the outcome of a mover that leaves this Result.
func Report(result task.Result) Outcome { return Outcome{Result: &result} }

// Succeed returns the outcome of a mover that moved every component of its task, or of a Function that succeeded.
func Succeed(job *batchv1.Job) Outcome {
	if HookOf(job) != "" {
		return Outcome{Function: &FunctionEnd{}}
	}
	r := task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	for _, c := range TaskOf(job).Components {
		r.Components = append(r.Components, Moved(c.Name, "k"+c.Name))
	}
	return Report(r)
}

// Moved returns the result of a component that a mover backed up with this ID.
func Moved(component, id string) task.ComponentResult {
	return task.ComponentResult{
		Name: component, Outcome: task.OutcomeSucceeded, ID: id, SizeBytes: 2 << 20, UploadedBytes: 1 << 20,
		ComponentCounts: v1alpha1.ComponentCounts{Files: 3},
	}
}

// Fail returns the outcome of a mover that reports why it failed.
func Fail(reason string) Outcome {
	return Report(task.Result{
		Version: task.Version, Outcome: task.OutcomeFailed, Reason: reason, Message: "the mover says so",
	})
}

// HookOf returns the name of the hook that a Job belongs to, or "" for the Job of a mover.
func HookOf(job *batchv1.Job) string { return job.Labels[v1alpha1.LabelHook] }

// kinds are the kinds of tasks that a Job can have.
var kinds = []task.Kind{
	task.KindBackup, task.KindRestore, task.KindVolumeSnapshot, task.KindVolumeRestore, task.KindVolumeMount,
	task.KindInitStorage, task.KindInitRepository, task.KindKeep,
}

// TaskOf returns the task that a Job gives its mover.
func TaskOf(job *batchv1.Job) task.Task {
	text := job.Spec.Template.Annotations[v1alpha1.AnnotationTask]
	for _, kind := range kinds {
		if t, err := task.Decode([]byte(text), kind); err == nil {
			return t
		}
	}
	panic(fmt.Sprintf("job %s has no task: %s", job.Name, text))
}

// ok reports whether the Job succeeds.
func (o Outcome) ok() bool {
	if o.Function != nil {
		return o.Function.Code == 0
	}
	return o.Result != nil && o.Result.Outcome == task.OutcomeSucceeded
}

// status returns the status of the ended pod.
func (o Outcome) status() (corev1.PodStatus, error) {
	name, end := task.Container, &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}
	switch {
	case o.Function != nil:
		name = moverjob.FunctionContainerName
		end = &corev1.ContainerStateTerminated{ExitCode: o.Function.Code, Reason: "Error", Message: o.Function.Log}
	case o.Result != nil:
		// A pod can report anything that fits into a termination message. A mover cuts what is longer.
		result := *o.Result
		result.Version = task.Version
		message, err := json.Marshal(result)
		if err != nil {
			return corev1.PodStatus{}, fmt.Errorf("encode the result of a pod: %w", err)
		}
		if len(message) > task.MaxResultBytes {
			if message, err = task.EncodeResult(result); err != nil {
				return corev1.PodStatus{}, err
			}
		}
		end = &corev1.ContainerStateTerminated{Message: string(message)}
		if !o.ok() {
			end.ExitCode = int32(task.ExitCode(o.Result.Reason))
		}
	}
	status := corev1.PodStatus{
		Phase:             corev1.PodFailed,
		ContainerStatuses: []corev1.ContainerStatus{{Name: name, State: corev1.ContainerState{Terminated: end}}},
	}
	if o.ok() {
		status.Phase = corev1.PodSucceeded
	}
	if o.Step != "" {
		status.InitContainerStatuses = []corev1.ContainerStatus{
			{Name: o.Step, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}},
		}
		status.ContainerStatuses[0].State = corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"},
		}
	}
	return status, nil
}
