package observe_test

import (
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

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func jobWith(conditions ...batchv1.JobCondition) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "j", UID: "uid-job", CreationTimestamp: metav1.NewTime(began)},
		Status:     batchv1.JobStatus{Conditions: conditions},
	}
}

func ended(kind batchv1.JobConditionType, reason string) batchv1.JobCondition {
	return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason}
}

func podWith(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "j-abcde", UID: "uid-pod", CreationTimestamp: metav1.NewTime(began)},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(jobWith(),
		batchv1.SchemeGroupVersion.WithKind("Job"))}
	change(p)
	return p
}

func podCondition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: kind, Status: status,
			Reason: reason, LastTransitionTime: metav1.NewTime(began),
		})
	}
}

func podWaits(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		podCondition(corev1.PodScheduled, corev1.ConditionTrue, "")(p)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: task.Container, Image: "mover:v1",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		}}
	}
}

func podEnded(end corev1.ContainerStateTerminated) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodFailed
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name:  task.Container,
			State: corev1.ContainerState{Terminated: &end},
		}}
	}
}

// deleted is a pod that somebody deletes.
func deleted(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(began)) }

func message(t testing.TB, r task.Result) string {
	t.Helper()
	b, err := task.EncodeResult(r)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(b)
}

// stepIs returns a change of a pod after which a step has the given state.
func stepIs(name string, state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses,
			corev1.ContainerStatus{Name: name, State: state})
	}
}

func TestAStepThatFailedNamesItself(t *testing.T) {
	g := NewWithT(t)
	pod := podWith(func(p *corev1.Pod) {
		p.Namespace = "shop"
		stepIs("first-0", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}})(p)
		stepIs("app-export-1", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 3,
			Message:  "s3cr3t",
		}})(p)
	})
	o := observe.Observe(jobWith(ended(batchv1.JobFailed, "BackoffLimitExceeded")), []corev1.Pod{*pod}, began)
	g.Expect(o.Message).
		To(Equal("step app-export-1 of the task failed with exit code 3; the mover did not run. While the pod " +
			"exists, see: kubectl logs -n shop j-abcde -c app-export-1"))
	o = observe.Observe(jobWith(ended(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)), []corev1.Pod{*pod}, began)
	g.Expect(o.Message).To(Equal("the Job did not end within its deadline, in step app-export-1"))

	pod.Status.InitContainerStatuses[1].State.Terminated.Reason = "OOMKilled"
	o = observe.Observe(jobWith(ended(batchv1.JobFailed, "BackoffLimitExceeded")), []corev1.Pod{*pod}, began)
	g.Expect(o.Message).To(Equal("step app-export-1 of the task was killed for its memory; the mover did not run. To " +
		"mend it, raise " + ofStep + ". If the container has no limit, or was far from it, the node ran out of " +
		"memory. While the pod exists, see: kubectl logs -n shop j-abcde -c app-export-1"))
	g.Expect(o.OOMKilled).To(BeFalse(), "the mover was not")
}

func TestObserve(t *testing.T) {
	jobFailed := func(reason string) *batchv1.Job { return jobWith(ended(batchv1.JobFailed, reason)) }
	good := message(t, task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded})
	bad := message(t, task.Result{Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonWrongPassword, Message: "m"})
	running := func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }
	stopped := message(t, task.Result{Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonCancelled, Message: "m"})
	disruption := func(reason string) func(*corev1.Pod) {
		return changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 137}), podCondition(corev1.DisruptionTarget,
			corev1.ConditionTrue, reason))
	}
	for name, tc := range map[string]struct {
		job    *batchv1.Job
		pod    func(*corev1.Pod)
		after  time.Duration
		state  observe.State
		reason string
		result bool
	}{
		"a new Job without a pod waits": {job: jobWith(), state: observe.StateWaiting},
		"a Job that gets no pod in five minutes": {
			job: jobWith(), after: 6 * time.Minute, state: observe.StateFailed, reason: v1alpha1.ReasonPodNotCreated,
		},
		"a pod that is pulling": {
			job: jobWith(), pod: podWaits("ContainerCreating"), after: time.Hour, state: observe.StateWaiting,
		},
		"an image that can't be pulled for a minute": {
			job: jobWith(), pod: podWaits("ImagePullBackOff"), after: time.Minute, state: observe.StateWaiting,
		},
		"an image that can't be pulled for longer": {
			job: jobWith(), pod: podWaits("ErrImagePull"), after: 3 * time.Minute, state: observe.StateFailed,
			reason: v1alpha1.ReasonImagePullFailed,
		},
		"a container that cannot be created": {
			job: jobWith(), pod: podWaits("CreateContainerConfigError"), after: 3 * time.Minute,
			state: observe.StateFailed, reason: v1alpha1.ReasonPodNotStarted,
		},
		"a node that has not mounted the volumes for a while": {
			job: jobWith(), pod: changed(podWaits("ContainerCreating"), podCondition(corev1.PodReadyToStartContainers,
				corev1.ConditionFalse, "")), after: 14 * time.Minute, state: observe.StateWaiting,
		},
		"a node that can't mount the volumes": {
			job: jobWith(), pod: changed(podWaits("ContainerCreating"), podCondition(corev1.PodReadyToStartContainers,
				corev1.ConditionFalse, "")), after: 16 * time.Minute, state: observe.StateFailed,
			reason: v1alpha1.ReasonPodNotStarted,
		},
		"a pull that takes long": {
			job: jobWith(), pod: changed(podWaits("ContainerCreating"), podCondition(corev1.PodReadyToStartContainers,
				corev1.ConditionTrue, "")), after: time.Hour, state: observe.StateWaiting,
		},
		"an image that can't be pulled once the volumes are mounted, late": {
			job: jobWith(),
			pod: changed(podWaits("ErrImagePull"), func(p *corev1.Pod) {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
					Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue,
					LastTransitionTime: metav1.NewTime(began.Add(3 * time.Minute)),
				})
			}), after: 4 * time.Minute, state: observe.StateWaiting,
		},
		"a pod that has not started and can't be deleted": {
			job: jobWith(), pod: changed(podWaits("ContainerCreating"), deleted), after: 6 * time.Minute,
			state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost,
		},
		"a pod without a node for a while": {
			job: jobWith(), pod: podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable"),
			after: 4 * time.Minute, state: observe.StateWaiting,
		},
		"a pod without a node for too long": {
			job: jobWith(), pod: podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable"),
			after: 6 * time.Minute, state: observe.StateFailed, reason: v1alpha1.ReasonUnschedulable,
		},
		"a pod that runs": {
			job: jobWith(), pod: running, after: time.Hour, state: observe.StateRunning,
		},
		"a node that does not report for a while": {
			job: jobWith(), pod: changed(running, podCondition(corev1.PodReady, corev1.ConditionUnknown, "")),
			after: time.Minute, state: observe.StateRunning,
		},
		"a node that does not report for too long": {
			job: jobWith(), pod: changed(running, podCondition(corev1.PodReady, corev1.ConditionFalse, "NodeNotReady")),
			after: 6 * time.Minute, state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost,
		},
		"a pod that can't be deleted": {
			job: jobWith(), pod: changed(running, deleted), after: 6 * time.Minute,
			state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost,
		},
		"a Job that succeeded": {
			job: jobWith(ended(batchv1.JobComplete, "")), pod: podEnded(corev1.ContainerStateTerminated{Message: good}),
			state: observe.StateSucceeded, result: true,
		},
		"a Job that succeeded and whose pod is gone": {
			job: jobWith(ended(batchv1.JobComplete, "")), state: observe.StateSucceeded,
		},
		"a mover that says why it failed": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: podEnded(corev1.ContainerStateTerminated{ExitCode: 6, Message: bad}), state: observe.StateFailed,
			reason: v1alpha1.ReasonWrongPassword, result: true,
		},
		"a mover that was done when it was killed": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: podEnded(corev1.ContainerStateTerminated{ExitCode: 137, Message: good}), state: observe.StateSucceeded,
			result: true,
		},
		"a mover that needed too much memory": {
			job:    jobFailed("BackoffLimitExceeded"),
			pod:    podEnded(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}),
			state:  observe.StateFailed,
			reason: v1alpha1.ReasonOutOfMemory,
		},
		"a mover with too little memory to start": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: podEnded(corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "failed to " +
				"create containerd task: container init was OOM-killed (memory limit too low?): unknown"}),
			state: observe.StateFailed, reason: v1alpha1.ReasonOutOfMemory,
		},
		"a mover that crashed": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: podEnded(corev1.ContainerStateTerminated{ExitCode: 2, Message: "panic"}), state: observe.StateFailed,
			reason: v1alpha1.ReasonJobFailed,
		},
		"a deadline that passed": {
			job: jobFailed(batchv1.JobReasonDeadlineExceeded),
			pod: podEnded(corev1.ContainerStateTerminated{ExitCode: 7, Message: bad}), state: observe.StateFailed,
			reason: v1alpha1.ReasonDeadlineExceeded, result: true,
		},
		"a pod that was deleted": {
			job: jobFailed("BackoffLimitExceeded"), state: observe.StateFailed, reason: v1alpha1.ReasonPodDeleted,
		},
		"a pod that was deleted, the Job not yet counted": {
			job: jobWith(ended(batchv1.JobFailureTarget, "BackoffLimitExceeded")), state: observe.StateFailed,
			reason: v1alpha1.ReasonPodDeleted,
		},
		"a pod that is being deleted": {
			job:   jobFailed("BackoffLimitExceeded"),
			pod:   changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 143}), deleted),
			state: observe.StateFailed, reason: v1alpha1.ReasonPodDeleted,
		},
		"a pod that is being deleted whose mover was told to stop": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: changed(podEnded(corev1.ContainerStateTerminated{ExitCode: task.ExitCancelled, Message: stopped}),
				deleted),
			state: observe.StateFailed, reason: v1alpha1.ReasonPodDeleted, result: true,
		},
		"a pod that is being deleted after its mover failed": {
			job:   jobFailed("BackoffLimitExceeded"),
			pod:   changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 6, Message: bad}), deleted),
			state: observe.StateFailed, reason: v1alpha1.ReasonWrongPassword, result: true,
		},
		"a pod that was evicted after one of its components had failed": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: changed(disruption("EvictionByEvictionAPI"), podEnded(corev1.ContainerStateTerminated{
				ExitCode: 6, Message: message(t, task.Result{
					Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable,
					Components: []task.ComponentResult{
						{Name: "a", Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable},
						{Name: "b", Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonCancelled},
					},
				}),
			})),
			state: observe.StateFailed, reason: v1alpha1.ReasonEvicted, result: true,
		},
		"a mover that was told to stop": {
			job:   jobFailed("BackoffLimitExceeded"),
			pod:   podEnded(corev1.ContainerStateTerminated{ExitCode: task.ExitCancelled, Message: stopped}),
			state: observe.StateFailed, reason: v1alpha1.ReasonCancelled, result: true,
		},
		"a pod that was evicted, the Job not yet counted": {
			job: jobWith(), pod: changed(disruption("EvictionByEvictionAPI"), deleted), state: observe.StateFailed,
			reason: v1alpha1.ReasonEvicted,
		},
		"a pod that was evicted and is gone": {
			job: jobFailed(batchv1.JobReasonPodFailurePolicy), state: observe.StateFailed,
			reason: v1alpha1.ReasonEvicted,
		},
		"a pod that was evicted and is gone, the Job not yet ended": {
			job:   jobWith(ended(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy)),
			state: observe.StateFailed, reason: v1alpha1.ReasonEvicted,
		},
		"a pod that was deleted and is gone": {
			job: jobFailed("BackoffLimitExceeded"), state: observe.StateFailed, reason: v1alpha1.ReasonPodDeleted,
		},
		"a pod that went with a Job that is deleted": {
			job: func() *batchv1.Job { j := jobWith(); j.DeletionTimestamp = new(metav1.NewTime(began)); return j }(),
			pod: changed(disruption("EvictionByEvictionAPI"), deleted), state: observe.StateRunning,
		},
		"a pod that ended, the Job not yet counted": {
			job: jobWith(), pod: podEnded(corev1.ContainerStateTerminated{ExitCode: 2}), state: observe.StateRunning,
		},
		"a pod whose node is gone": {
			job: jobFailed("BackoffLimitExceeded"), pod: disruption("DeletionByPodGC"), state: observe.StateFailed,
			reason: v1alpha1.ReasonNodeLost,
		},
		"a pod whose node is tainted": {
			job: jobFailed("BackoffLimitExceeded"), pod: disruption("DeletionByTaintManager"),
			state:  observe.StateFailed,
			reason: v1alpha1.ReasonNodeLost,
		},
		"a pod whose node is drained": {
			job: jobFailed("BackoffLimitExceeded"), pod: disruption("EvictionByEvictionAPI"),
			state:  observe.StateFailed,
			reason: v1alpha1.ReasonEvicted,
		},
		"a pod whose node lacks space": {
			job: jobFailed("BackoffLimitExceeded"), pod: disruption("TerminationByKubelet"), state: observe.StateFailed,
			reason: v1alpha1.ReasonEvicted,
		},
		"a pod that was preempted": {
			job: jobFailed("BackoffLimitExceeded"), pod: disruption("PreemptionByScheduler"),
			state:  observe.StateFailed,
			reason: v1alpha1.ReasonEvicted,
		},
		"a pod that its node evicted": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 137}),
				func(p *corev1.Pod) { p.Status.Reason = "Evicted" }),
			state: observe.StateFailed, reason: v1alpha1.ReasonEvicted,
		},
		"a pod whose node was shut down": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 137}),
				func(p *corev1.Pod) { p.Status.Reason = "NodeShutdown" }),
			state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost,
		},
		"a step that runs": {
			job: jobWith(), pod: changed(podWaits("PodInitializing"),
				stepIs("app-export-0", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})),
			after: time.Hour, state: observe.StateRunning,
		},
		"a step that failed": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: stepIs("app-export-0",
				corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Message: "s3cr3t"}}),
			state: observe.StateFailed, reason: v1alpha1.ReasonStepFailed,
		},
		"a step that needed too much memory": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: stepIs("app-export-0",
				corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
					ExitCode: 137,
					Reason:   "OOMKilled",
				}}),
			state: observe.StateFailed, reason: v1alpha1.ReasonStepFailed,
		},
		"a step that the deadline ended": {
			job: jobFailed(batchv1.JobReasonDeadlineExceeded),
			pod: stepIs("app-export-0",
				corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143}}),
			state: observe.StateFailed, reason: v1alpha1.ReasonDeadlineExceeded,
		},
		"a step whose node was lost": {
			job: jobFailed("BackoffLimitExceeded"),
			pod: changed(stepIs("app-export-0",
				corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143}}),
				podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "")),
			state: observe.StateFailed, reason: v1alpha1.ReasonNodeLost,
		},
		"an image that can't be pulled after a long step": {
			job: jobWith(),
			pod: changed(podWaits("ErrImagePull"),
				stepIs("app-export-0",
					corev1.ContainerState{
						Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(began.Add(time.Hour))},
					})),
			after: time.Hour + time.Minute, state: observe.StateRunning,
		},
		"a Function that failed": {job: jobFailed("BackoffLimitExceeded"), pod: func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name:  moverjob.FunctionContainerName,
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}},
			}}
		}, state: observe.StateFailed, reason: v1alpha1.ReasonJobFailed},
		"a Function that failed and reports success, beside a container of a webhook": {
			job: jobFailed("BackoffLimitExceeded"), pod: func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "added"}, {
					Name: moverjob.FunctionContainerName,
					State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
						ExitCode: 3, Message: `{"version":1,"outcome":"Succeeded"}`,
					}},
				}}
			}, state: observe.StateFailed, reason: v1alpha1.ReasonJobFailed,
		},
		"another Job's pod": {
			job: jobWith(), pod: changed(podWaits("ErrImagePull"),
				func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }), after: 3 * time.Minute,
			state: observe.StateWaiting,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var pods []corev1.Pod
			if tc.pod != nil {
				pods = append(pods, *podWith(tc.pod))
			}
			o := observe.Observe(tc.job, pods, began.Add(tc.after))
			g.Expect(o.State).To(Equal(tc.state), o.Message)
			if tc.reason != "" {
				g.Expect(o.Reason).To(Equal(tc.reason))
				g.Expect(o.Message).NotTo(BeEmpty())
				g.Expect(o.Recheck).To(BeZero())
			}
			g.Expect(o.Result != nil).To(Equal(tc.result))
		})
	}
}

func TestANewJobIsNotSaidToGetNoPod(t *testing.T) {
	g := NewWithT(t)
	o := observe.Observe(jobWith(), nil, began)
	g.Expect(o.Reason).To(Equal(v1alpha1.ReasonPending))
	g.Expect(o.Message).To(Equal("the Job has no pod yet: if that lasts, see the events of the Job"))
	o = observe.Observe(jobWith(), nil, began.Add(o.Recheck))
	g.Expect(o.Reason).To(Equal(v1alpha1.ReasonPodNotCreated))
	g.Expect(o.Message).To(ContainSubstring("no pod could be created"))
}

func TestAStateThatEndsByItselfSaysWhenToLookAgain(t *testing.T) {
	g := NewWithT(t)
	pod := podWith(podWaits("ImagePullBackOff"))
	o := observe.Observe(jobWith(), []corev1.Pod{*pod}, began.Add(time.Minute))
	g.Expect(o.Recheck).To(Equal(time.Minute))
	o = observe.Observe(jobWith(), []corev1.Pod{*pod}, began.Add(time.Minute+o.Recheck))
	g.Expect(o.State).To(Equal(observe.StateFailed))
	pod = podWith(podWaits("ContainerCreating"))
	podCondition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "")(pod)
	o = observe.Observe(jobWith(), []corev1.Pod{*pod}, began.Add(time.Minute))
	g.Expect(o).To(Equal(observe.Observation{
		State: observe.StateWaiting, Reason: v1alpha1.ReasonPending,
		Recheck: 14 * time.Minute,
	}), "every pod starts this way")
}

func TestASuspendedJobSaysThatItWaits(t *testing.T) {
	g := NewWithT(t)
	job := jobWith()
	job.Spec.Suspend = new(true)
	o := observe.Observe(job, nil, began.Add(24*time.Hour))
	g.Expect(o.Suspended()).To(BeTrue())
	g.Expect(o.Message).To(ContainSubstring("Job j is suspended"))
	job.Spec.Suspend = nil
	o = observe.Observe(job, nil, began)
	g.Expect(o.Suspended()).To(BeFalse())
}

func TestAJobThatWasSuspendedHasTimeForItsPod(t *testing.T) {
	g, resumed := NewWithT(t), began.Add(time.Hour)
	job := jobWith()
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}
	o := observe.Observe(job, nil, resumed)
	g.Expect(o.State).To(Equal(observe.StateWaiting), "its controller has not seen yet that it goes on")
	job.Status.Conditions[0].Status = corev1.ConditionFalse
	job.Status.Conditions[0].LastTransitionTime = metav1.NewTime(resumed)
	o = observe.Observe(job, nil, resumed.Add(time.Second))
	g.Expect(o).To(And(HaveField("State", observe.StateWaiting), HaveField("Recheck", BeNumerically(">", 0))))
	o = observe.Observe(job, nil, resumed.Add(time.Hour))
	g.Expect(o).To(HaveField("Reason", v1alpha1.ReasonPodNotCreated))
}
