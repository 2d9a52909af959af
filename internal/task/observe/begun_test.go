package observe_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// onNode gives a pod its node.
func onNode(p *corev1.Pod) { p.Spec.NodeName = "node-1" }

// changed makes several changes of a pod.
func changed(fs ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, f := range fs {
			f(p)
		}
	}
}

// suspended returns a Job of a generation that somebody suspends, or has resumed.
func suspended(generation int64, now bool) *batchv1.Job {
	job := jobWith(batchv1.JobCondition{Type: batchv1.JobSuspended, Status: corev1.ConditionFalse})
	job.Generation, job.Spec.Suspend = generation, &now
	return job
}

// These are all the ways in which a Job ends without a report of its mover. A restore whose mover is not known to have
// left its target alone marks it, so a false "it has not begun" is what must never be.
func TestWhetherAMoverIsKnownNotToHaveBegun(t *testing.T) {
	failedJob := func(reason string) *batchv1.Job { return jobWith(ended(batchv1.JobFailed, reason)) }
	counted := func(s batchv1.JobStatus) *batchv1.Job { j := jobWith(); j.Status = s; return j }
	stepFailed := changed(onNode, podWaits("PodInitializing"), stepIs("s-0", corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 1},
	}), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	mover := func(change func(*corev1.ContainerStatus)) func(*corev1.Pod) {
		return changed(onNode, podWaits("ErrImagePull"), func(p *corev1.Pod) { change(&p.Status.ContainerStatuses[0]) })
	}
	notReady := podCondition(corev1.PodReady, corev1.ConditionUnknown, "")
	noVolumes := podCondition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "")
	noPlace := podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable")
	evicted := podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI")
	running := func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }
	killed := changed(onNode, podEnded(corev1.ContainerStateTerminated{ExitCode: 137}))
	for name, tt := range map[string]struct {
		job     *batchv1.Job
		pod     func(*corev1.Pod)
		reason  string
		unbegun bool
	}{
		"no pod":  {jobWith(), nil, v1alpha1.ReasonPodNotCreated, true}, // QuotaExceeded, too
		"no node": {jobWith(), noPlace, v1alpha1.ReasonUnschedulable, true},
		"no image": {
			jobWith(), changed(onNode, podWaits("ErrImagePull")), v1alpha1.ReasonImagePullFailed, true,
		},
		"no container": {
			jobWith(), changed(onNode, podWaits("CreateContainerError")), v1alpha1.ReasonPodNotStarted, true,
		},
		// VolumeMountFailed, too
		"no volumes": {
			jobWith(), changed(onNode, podWaits("X"), noVolumes), v1alpha1.ReasonPodNotStarted, true,
		},
		"a step failed":     {failedJob(""), stepFailed, v1alpha1.ReasonStepFailed, true},
		"suspended at once": {suspended(1, true), nil, v1alpha1.ReasonSuspended, true},
		"made suspended, and its pod has no node": {
			suspended(2, false), noPlace, v1alpha1.ReasonUnschedulable, true,
		},

		"it runs": {
			jobWith(), changed(onNode, running), v1alpha1.ReasonRunning, false,
		},
		"it crashed": {failedJob(""), killed, v1alpha1.ReasonJobFailed, false},
		"it needed too much memory": {
			failedJob(""),
			podEnded(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}),
			v1alpha1.ReasonOutOfMemory, false,
		},
		"it was not started, says the runtime": { // which can ask too late
			failedJob(""),
			podEnded(corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError"}),
			v1alpha1.ReasonJobFailed, false,
		},
		"it was told to stop": {
			failedJob(""), podEnded(corev1.ContainerStateTerminated{ExitCode: task.ExitCancelled}),
			v1alpha1.ReasonCancelled, false,
		},
		"it ended without a word": {
			jobWith(ended(batchv1.JobComplete, "")), nil, v1alpha1.ReasonSucceeded, false,
		},
		"the deadline": {
			failedJob(batchv1.JobReasonDeadlineExceeded), killed, v1alpha1.ReasonDeadlineExceeded, false,
		},
		"the deadline, and its pod is gone": {
			failedJob(batchv1.JobReasonDeadlineExceeded), nil, v1alpha1.ReasonDeadlineExceeded, false,
		},
		"its pod is gone": {failedJob(""), nil, v1alpha1.ReasonPodDeleted, false},
		"its pod is gone, not yet counted": {
			jobWith(ended(batchv1.JobFailureTarget, "")), nil, v1alpha1.ReasonPodDeleted, false,
		},
		"its pod was evicted and is gone": {
			failedJob(batchv1.JobReasonPodFailurePolicy), nil, v1alpha1.ReasonEvicted, false,
		},
		"its pod was evicted": {
			failedJob(""), changed(killed, evicted), v1alpha1.ReasonEvicted, false,
		},
		"its pod was evicted before it began": {
			failedJob(""), changed(stepFailed, evicted), v1alpha1.ReasonEvicted, false,
		},
		"its pod is not in the cache": {
			counted(batchv1.JobStatus{Active: 1}), nil, v1alpha1.ReasonPodNotCreated, false,
		},
		"its pod has ended": {
			counted(batchv1.JobStatus{Failed: 1}), nil, v1alpha1.ReasonPodNotCreated, false,
		},
		"its pod ends": {
			counted(batchv1.JobStatus{Terminating: new(int32(1))}), nil, v1alpha1.ReasonPodNotCreated, false,
		},
		"its node is lost": {
			jobWith(), changed(onNode, podWaits("X"), notReady), v1alpha1.ReasonNodeLost, false,
		},
		"its pod does not go": {
			jobWith(), changed(onNode, podWaits("X"), deleted), v1alpha1.ReasonNodeLost, false,
		},
		"its node has told nothing": {jobWith(), onNode, v1alpha1.ReasonPending, false},
		"its node is known, and not to itself": {
			jobWith(), podCondition(corev1.PodScheduled, corev1.ConditionTrue, ""), v1alpha1.ReasonPending, false,
		},
		"another container has no image": {jobWith(), mover(func(s *corev1.ContainerStatus) {
			s.Name = "proxy"
		}), v1alpha1.ReasonImagePullFailed, false},
		"it runs, and another container has no image": {
			jobWith(), changed(onNode, podWaits("ErrImagePull"), func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].Name = "proxy"
				p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
					Name: task.Container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
				})
			}), v1alpha1.ReasonImagePullFailed, false,
		},
		"its container was made": {jobWith(), mover(func(s *corev1.ContainerStatus) {
			s.ContainerID, s.State.Waiting.Reason = "containerd://1", "RunContainerError"
		}), v1alpha1.ReasonPodNotStarted, false},
		"its container had ended": {jobWith(), mover(func(s *corev1.ContainerStatus) {
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{}
		}), v1alpha1.ReasonImagePullFailed, false},
		"its container starts again": {jobWith(), mover(func(s *corev1.ContainerStatus) {
			s.RestartCount = 1
		}), v1alpha1.ReasonImagePullFailed, false},
		"suspended since": {suspended(2, true), nil, v1alpha1.ReasonSuspended, false},
		"resumed, and its second pod has no node": {
			suspended(3, false), noPlace, v1alpha1.ReasonUnschedulable, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var pods []corev1.Pod
			if tt.pod != nil {
				pods = append(pods, *podWith(tt.pod))
			}
			o := observe.Observe(tt.job, pods, began.Add(time.Hour))
			g.Expect(o.Reason).To(Equal(tt.reason))
			g.Expect(o.Unbegun).To(Equal(tt.unbegun))

			pods = append(pods, *podWith(killed))
			g.Expect(observe.Observe(tt.job, pods, began.Add(time.Hour)).Unbegun).To(BeFalse(), "an earlier pod ran")
		})
	}
}

// A sidecar that was given work reads it from the API server, and can begin it although no report of that comes.
func TestOnlyWorkThatNoSidecarWasGivenIsKnownNotToHaveBegun(t *testing.T) {
	g, late := NewWithT(t), began.Add(time.Hour)
	o := observe.NoSidecar(began, "nobody", late)
	g.Expect(o.Reason).To(Equal(v1alpha1.ReasonSidecarNotReady))
	g.Expect(o.Unbegun).To(BeTrue())
	o = observe.ObserveSidecar(podWith(onNode), observe.SidecarAtWork{Container: "cairn", Since: began}, late)
	g.Expect(o.Reason).To(Equal(v1alpha1.ReasonSidecarNotReady))
	g.Expect(o.Unbegun).To(BeFalse())
}
