package observe_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestEnded(t *testing.T) {
	of := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) []batchv1.JobCondition {
		return []batchv1.JobCondition{{Type: kind, Status: status}}
	}
	for name, tt := range map[string]struct {
		conditions []batchv1.JobCondition
		by         int // the index of the condition with which the Job ended; -1: it has not
	}{
		"new":              {by: -1},
		"complete":         {conditions: of(batchv1.JobComplete, corev1.ConditionTrue)},
		"failed":           {conditions: of(batchv1.JobFailed, corev1.ConditionTrue)},
		"not complete":     {conditions: of(batchv1.JobComplete, corev1.ConditionFalse), by: -1},
		"perhaps failed":   {conditions: of(batchv1.JobFailed, corev1.ConditionUnknown), by: -1},
		"suspended":        {conditions: of(batchv1.JobSuspended, corev1.ConditionTrue), by: -1},
		"will fail":        {conditions: of(batchv1.JobFailureTarget, corev1.ConditionTrue), by: -1},
		"will be complete": {conditions: of(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue), by: -1},
		"failed at last": {
			conditions: slices.Concat(of(batchv1.JobComplete, corev1.ConditionFalse),
				of(batchv1.JobFailureTarget, corev1.ConditionTrue), of(batchv1.JobFailed, corev1.ConditionTrue)),
			by: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			job := &batchv1.Job{Status: batchv1.JobStatus{Conditions: tt.conditions}}
			g.Expect(observe.Ended(job)).To(Equal(tt.by >= 0))
			if tt.by < 0 {
				g.Expect(observe.End(job)).To(BeNil())
				return
			}
			g.Expect(observe.End(job)).To(BeIdenticalTo(&job.Status.Conditions[tt.by]))
		})
	}
}

// A webhook of the cluster (Istio, Linkerd, Vault) has added a container to the pod, which does not end with the mover.
func TestTheEndOfTheMoverIsTheEndOfItsJob(t *testing.T) {
	good := message(t, task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded})
	bad := message(t, task.Result{Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonWrongPassword, Message: "m"})
	for name, tt := range map[string]struct {
		end       corev1.ContainerStateTerminated
		container string
		edit      func(*corev1.Pod)
		after     time.Duration
		state     observe.State
		reason    string
		recheck   time.Duration
		result    bool
	}{
		"it has just ended": {
			end: corev1.ContainerStateTerminated{Message: good}, after: time.Second, state: observe.StateRunning,
			recheck: 59 * time.Second, reason: v1alpha1.ReasonRunning,
		},
		"it ended well": {
			end: corev1.ContainerStateTerminated{Message: good}, after: time.Minute, state: observe.StateSucceeded,
			reason: v1alpha1.ReasonSucceeded, result: true,
		},
		"it failed": {
			end: corev1.ContainerStateTerminated{ExitCode: 6, Message: bad}, after: time.Minute,
			state: observe.StateFailed, reason: v1alpha1.ReasonWrongPassword, result: true,
		},
		"it needed too much memory": {
			end:   corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"},
			after: time.Minute, state: observe.StateFailed, reason: v1alpha1.ReasonOutOfMemory,
		},
		"it is a Function": {
			container: moverjob.FunctionContainerName, after: time.Minute, state: observe.StateSucceeded,
			reason: v1alpha1.ReasonSucceeded,
		},
		"it ended well before its node was lost": {
			end:   corev1.ContainerStateTerminated{Message: good},
			edit:  podCondition(corev1.PodReady, corev1.ConditionUnknown, "NodeStatusUnknown"),
			after: time.Hour, state: observe.StateSucceeded, reason: v1alpha1.ReasonSucceeded, result: true,
		},
		"it ended well, and the image of the other container can't be pulled": {
			end:   corev1.ContainerStateTerminated{Message: good},
			edit:  func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending },
			after: time.Hour, state: observe.StateSucceeded, reason: v1alpha1.ReasonSucceeded, result: true,
		},
		"it ended well, says the clock of its node, in a year": {
			end: corev1.ContainerStateTerminated{Message: good}, after: -365 * 24 * time.Hour,
			state: observe.StateSucceeded, reason: v1alpha1.ReasonSucceeded, result: true,
		},
		"only the other container has ended": {
			container: "another", after: time.Hour, state: observe.StateRunning, reason: v1alpha1.ReasonRunning,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tt.end.FinishedAt = metav1.NewTime(began)
			pod := podWith(podEnded(tt.end))
			pod.Status.Phase = corev1.PodRunning
			if tt.container != "" {
				pod.Status.ContainerStatuses[0].Name = tt.container
			}
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			})
			if tt.edit != nil {
				tt.edit(pod)
			}
			o := observe.Observe(jobWith(), []corev1.Pod{*pod}, began.Add(tt.after))
			g.Expect(o.State).To(Equal(tt.state), o.Message)
			g.Expect(o.Reason).To(Equal(tt.reason))
			g.Expect(o.Recheck).To(Equal(tt.recheck))
			g.Expect(o.Result != nil).To(Equal(tt.result))
		})
	}
}

// A mesh can add its proxy as a native sidecar. It starts before the steps, and is told to end once the mover has.
func TestANativeSidecarIsNoStep(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	meshed := func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{
			{Name: "istio-proxy", RestartPolicy: &always}, {Name: "app-export-0"},
		}
	}
	exits := func(code int32) corev1.ContainerState {
		end := corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(began.Add(time.Minute))}
		return corev1.ContainerState{Terminated: &end}
	}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	killed := podEnded(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"})
	drained := podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "")
	for name, tt := range map[string]struct {
		job    *batchv1.Job
		pod    func(*corev1.Pod)
		after  time.Duration
		reason string
		state  observe.State
	}{
		"it failed after the mover": {
			jobWith(ended(batchv1.JobFailed, "")), changed(killed, stepIs("istio-proxy", exits(143))), 0,
			v1alpha1.ReasonOutOfMemory, observe.StateFailed,
		},
		"it failed, and the pod was evicted": {
			jobWith(ended(batchv1.JobFailed, "")), changed(killed, drained, stepIs("istio-proxy", exits(143))), 0,
			v1alpha1.ReasonNodeLost, observe.StateFailed,
		},
		"a step failed beside it": {
			jobWith(ended(batchv1.JobFailed, "")),
			changed(stepIs("istio-proxy", exits(143)), stepIs("app-export-0", exits(1))), 0,
			v1alpha1.ReasonStepFailed, observe.StateFailed,
		},
		"it runs, and no step yet": {
			jobWith(), changed(podWaits("PodInitializing"), stepIs("istio-proxy", runs)), 0,
			v1alpha1.ReasonPending, observe.StateWaiting,
		},
		"it runs, and a step": {
			jobWith(),
			changed(podWaits("PodInitializing"), stepIs("istio-proxy", runs), stepIs("app-export-0", runs)), 0,
			v1alpha1.ReasonRunning, observe.StateRunning,
		},
		"its end leaves an image no more time": {
			jobWith(), changed(podWaits("ErrImagePull"), stepIs("istio-proxy", exits(0))), 2 * time.Minute,
			v1alpha1.ReasonImagePullFailed, observe.StateFailed,
		},
		"the end of a step does": {
			jobWith(), changed(podWaits("ErrImagePull"), stepIs("app-export-0", exits(0))), 2 * time.Minute,
			v1alpha1.ReasonRunning, observe.StateRunning,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := podWith(changed(tt.pod, meshed))
			o := observe.Observe(tt.job, []corev1.Pod{*pod}, began.Add(tt.after))
			g.Expect(o.Reason).To(Equal(tt.reason), o.Message)
			g.Expect(o.State).To(Equal(tt.state))
			g.Expect(o.Message).NotTo(ContainSubstring("istio-proxy"))
		})
	}
}
