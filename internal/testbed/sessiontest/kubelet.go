package sessiontest

import (
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// Succeed returns the outcome of a mover that moved every component of its task, or of a Function that succeeded.
func Succeed(job *batchv1.Job) Outcome {
	if HookOf(job) != "" {
		return Outcome{Function: &FunctionEnd{}}
	}
	t := TaskOf(job)
	r := &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}
	for _, c := range t.Components {
		r.Components = append(r.Components, task.ComponentResult{
			Name: c.Name, Outcome: task.OutcomeSucceeded, ID: "k" + c.Name, SizeBytes: 2 << 20, UploadedBytes: 1 << 20,
			ComponentCounts: v1alpha1.ComponentCounts{Files: 3},
		})
	}
	return Outcome{Result: r}
}

// HookOf returns the name of the hook that a Job belongs to, or "" for the Job of a mover.
func HookOf(job *batchv1.Job) string { return job.Labels[v1alpha1.LabelHook] }

// Fail returns the outcome of a mover that reports why it failed.
func Fail(reason string) Outcome {
	return Outcome{
		Result: &task.Result{
			Version: task.Version, Outcome: task.OutcomeFailed, Reason: reason, Message: "the mover says so",
		},
	}
}

// TaskOf returns the task that a Job gives its mover.
func TaskOf(job *batchv1.Job) task.Task {
	text := job.Spec.Template.Annotations[v1alpha1.AnnotationTask]
	for _, kind := range []task.Kind{
		task.KindBackup, task.KindRestore, task.KindVolumeSnapshot, task.KindVolumeRestore,
		task.KindVolumeMount,
	} {
		if t, err := task.Decode([]byte(text), kind); err == nil {
			return t
		}
	}
	panic(fmt.Sprintf("job %s has no task: %s", job.Name, text))
}

// jobs returns the Jobs of a namespace.
func jobs(t testing.TB, c client.Client, namespace string) []batchv1.Job {
	t.Helper()
	var jobs batchv1.JobList
	if err := c.List(t.Context(), &jobs, client.InNamespace(namespace)); err != nil {
		t.Fatalf("list Jobs: %v", err)
	}
	return jobs.Items
}

// runCluster ends every unfinished Job of a namespace as outcome says, and removes deleted Jobs with their pods. It
// returns how many Jobs it changed.
func runCluster(t testing.TB, c client.Client, namespace string, outcome func(*batchv1.Job) Outcome) int {
	t.Helper()
	changed := 0
	jobs := jobs(t, c, namespace)
	for i := range jobs {
		job := &jobs[i]
		switch {
		case job.DeletionTimestamp != nil:
			remove(t, c, job)
			changed++
		case len(job.Status.Conditions) == 0:
			o := outcome(job)
			if pod := startPod(t, c, job); !o.Hang {
				finish(t, c, job, pod, o)
				changed++
			}
		}
	}
	return changed
}

// remove does what the garbage collector does for a foreground deletion.
func remove(t testing.TB, c client.Client, job *batchv1.Job) {
	t.Helper()
	var pods corev1.PodList
	must(t, c.List(t.Context(), &pods, client.InNamespace(job.Namespace)))
	for i := range pods.Items {
		if metav1.IsControlledBy(&pods.Items[i], job) {
			must(t, client.IgnoreNotFound(c.Delete(t.Context(), &pods.Items[i], client.GracePeriodSeconds(0))))
		}
	}
	before := job.DeepCopy()
	job.Finalizers = nil
	must(t, client.IgnoreNotFound(c.Patch(t.Context(), job, client.MergeFrom(before))))
}

// startPod creates the pod of a Job and starts it, or finds it.
func startPod(t testing.TB, c client.Client, job *batchv1.Job) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: job.Name + "-x1y2z", Labels: job.Spec.Template.Labels,
			Annotations: job.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
			},
		},
		Spec: *job.Spec.Template.Spec.DeepCopy(),
	}
	switch err := c.Create(t.Context(), pod); {
	case apierrors.IsAlreadyExists(err):
		must(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
		return pod
	default:
		must(t, err)
	}
	pod.Status.Phase = corev1.PodRunning
	must(t, c.Status().Update(t.Context(), pod))
	return pod
}

// finish ends a pod and its Job.
func finish(t testing.TB, c client.Client, job *batchv1.Job, pod *corev1.Pod, o Outcome) {
	t.Helper()
	end := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}
	ok := false
	if o.Result != nil {
		message, err := task.EncodeResult(*o.Result)
		must(t, err)
		ok = o.Result.Outcome == task.OutcomeSucceeded
		end = &corev1.ContainerStateTerminated{
			ExitCode: int32(task.ExitCode(o.Result.Reason)), Message: string(message),
		}
	}
	pod.Status.Phase = corev1.PodFailed
	if ok {
		end.ExitCode, pod.Status.Phase = 0, corev1.PodSucceeded
	}
	name := task.Container
	if f := o.Function; f != nil {
		name, ok = moverjob.FunctionContainerName, f.Code == 0
		end = &corev1.ContainerStateTerminated{ExitCode: f.Code, Reason: "Error", Message: f.Log}
		if pod.Status.Phase = corev1.PodFailed; ok {
			pod.Status.Phase = corev1.PodSucceeded
		}
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: name, State: corev1.ContainerState{Terminated: end}}}
	if o.Step != "" {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{
			{Name: o.Step, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}},
		}
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"},
		}
	}
	must(t, c.Status().Update(t.Context(), pod))

	now := metav1.NewTime(time.Now())
	condition := func(kind batchv1.JobConditionType) batchv1.JobCondition {
		return batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now,
			Reason: "BackoffLimitExceeded",
		}
	}
	job.Status.StartTime = &now
	if ok {
		job.Status.CompletionTime, job.Status.Succeeded = &now, 1
		job.Status.Conditions = []batchv1.JobCondition{
			condition(batchv1.JobSuccessCriteriaMet), condition(batchv1.JobComplete),
		}
	} else {
		job.Status.Failed = 1
		job.Status.Conditions = []batchv1.JobCondition{
			condition(batchv1.JobFailureTarget), condition(batchv1.JobFailed),
		}
	}
	must(t, c.Status().Update(t.Context(), job))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
