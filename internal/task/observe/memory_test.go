package observe_test

import (
	"cmp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// The Jobs of a storage have its settings, and no jobTemplate.
func TestTheAdviceAboutMemoryNamesAFieldThatTheJobHas(t *testing.T) {
	const template, storage = "addon.jobTemplate.spec.resources.limits.memory, or " +
		"addon.containerRuntimeSettings.resources.limits.memory if that is set",
		"runtimeSettings.container.resources.limits.memory of the BackupStorage"
	killed := corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	start := corev1.ContainerStateTerminated{
		ExitCode: 128, Reason: "StartError", Message: "container init was OOM-killed (memory limit too low?): unknown",
	}
	for label, field := range map[string]string{
		v1alpha1.LabelSnapshot: template, v1alpha1.LabelRestoreSession: template,
		v1alpha1.LabelKeeper: storage, v1alpha1.LabelStorage: storage, v1alpha1.LabelInitStorage: storage,
	} {
		for _, end := range []corev1.ContainerStateTerminated{killed, start} {
			g, pod := NewWithT(t), podWith(podEnded(end))
			pod.Labels = map[string]string{label: "x"}
			o := observe.Observe(jobWith(ended(batchv1.JobFailed, "")), []corev1.Pod{*pod}, began)
			g.Expect(o.Reason).To(Equal(v1alpha1.ReasonOutOfMemory))
			started, what := true, "the mover was killed for its memory: raise "
			if end.Reason == "StartError" {
				started = false
				what = "the mover could not be started, most often because its memory limit is too low: raise "
			}
			g.Expect(o.Message).To(HavePrefix(what+field+". If "), label)
			g.Expect(strings.Contains(o.Message, "If the container has no limit, or was far from it, the node ran ")).
				To(Equal(started), o.Message)
			g.Expect(strings.Contains(o.Message, "see kubectl")).To(Equal(!started), o.Message)
			g.Expect(strings.Contains(o.Message, "describe pod")).To(Equal(!started && field == template), o.Message)
			g.Expect(o.OOMKilled).To(Equal(started), end.Reason)
		}
	}
}

// ofStep is where the memory of a step is limited.
const ofStep = "runtimeSettings.resources.limits.memory of its Function, or, if the Function sets none, " +
	"addon.jobTemplate.spec.resources.limits.memory, or " +
	"addon.containerRuntimeSettings.resources.limits.memory if that is set"

// What the kernel kills while it is started has no log, only what the container runtime says.
func TestAContainerThatWasNotStarted(t *testing.T) {
	const stopped, lookedFor = "cannot start a stopped process: unknown", "exec: \"/mover\": no such file or directory"
	limited := func(p *corev1.Pod) {
		limit := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("12Mi")}
		has := corev1.ResourceRequirements{Limits: limit}
		p.Spec.InitContainers = []corev1.Container{{Name: "app-export-0", Resources: has}}
		p.Spec.Containers = []corev1.Container{
			{Name: task.Container, Resources: has},
			{Name: moverjob.FunctionContainerName, Resources: has},
		}
	}
	ofAnother := changed(limited, func(p *corev1.Pod) {
		p.Spec.InitContainers[0].Name = "proxy-init"
		p.Spec.Containers[0].Name, p.Spec.Containers[1].Name = "proxy", "added"
	})
	drained := podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI")
	const memory, other = v1alpha1.ReasonOutOfMemory, v1alpha1.ReasonJobFailed
	for name, tt := range map[string]struct {
		says, kind string
		pod        func(*corev1.Pod)
		reason     string
	}{
		"runc, killed": {
			"container init was OOM-killed (memory limit too low?): unknown", "", limited, memory,
		},
		"runc, refused": {
			"unable to set memory limit to 1000 (current usage: 12): unknown", "", limited, memory,
		},
		"crun": {
			"the container exited: OOM: the memory limit could be too low", "", limited, memory,
		},
		"dead, says the shim": {
			"failed to start containerd task \"f797\": " + stopped, "", limited, memory,
		},
		"dead, says runc": {
			"cannot start a container that has stopped: unknown", "", limited, memory,
		},
		"dead already": {
			"container process is already dead", "", limited, memory,
		},
		"dead without a limit": {
			stopped, "", func(*corev1.Pod) {}, other,
		},
		"dead, another container has a limit": {
			stopped, "", ofAnother, other,
		},
		"another cause": {
			lookedFor, "", limited, other,
		},
		"Docker, killed": {
			"container init was OOM-killed", "ContainerCannotRun", limited, memory,
		},
		"Docker, another cause": {
			lookedFor, "ContainerCannotRun", limited, other,
		},
		"dead, and evicted": {
			stopped, "", changed(limited, drained), v1alpha1.ReasonEvicted,
		},
		"killed, and evicted": {
			"OOM-killed", "", changed(limited, drained), v1alpha1.ReasonEvicted,
		},
		"dead, and deleted": {
			stopped, "", changed(limited, deleted), v1alpha1.ReasonPodDeleted,
		},
		"another cause, and deleted": {
			lookedFor, "", changed(limited, deleted), v1alpha1.ReasonPodDeleted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, job := NewWithT(t), jobWith(ended(batchv1.JobFailed, ""))
			end := corev1.ContainerStateTerminated{
				ExitCode: 128, Reason: cmp.Or(tt.kind, "StartError"), Message: tt.says,
			}
			pod := podWith(changed(podEnded(end), tt.pod, func(p *corev1.Pod) { p.Namespace = "shop" }))
			o := observe.Observe(job, []corev1.Pod{*pod}, began)
			g.Expect(o.Reason).To(Equal(tt.reason))
			g.Expect(o.OOMKilled).To(BeFalse(), "it took no memory")
			g.Expect(o.Message).NotTo(Or(ContainSubstring(tt.says), ContainSubstring("log")), "there is no log")
			ofPod := And(ContainSubstring("see kubectl describe pod -n shop j-abcde while "),
				ContainSubstring("kubectl get events -n shop "))
			known := tt.reason == memory || tt.reason == other
			if known {
				g.Expect(o.Message).To(ofPod)
			}

			pod.Status.ContainerStatuses[0].Name = moverjob.FunctionContainerName
			o = observe.Observe(job, []corev1.Pod{*pod}, began)
			g.Expect(o.Reason).To(Equal(tt.reason))
			g.Expect(o.OOMKilled).To(BeFalse(), "it took no memory")
			g.Expect(o.Output).To(Equal(tt.says), "nothing else tells what is wrong")
			g.Expect(strings.Contains(o.Message, "raise runtimeSettings.resources.limits.memory of the Function, or "+
				"runtimeSettings.container.resources.limits.memory of the hook if that sets it. If that ")).
				To(Equal(tt.reason == memory), o.Message)
			if tt.reason == other {
				g.Expect(o.Message).To(ContainSubstring("could not start the Function's container: see stderr"))
			}

			if !known {
				return // The step is begun again.
			}
			step := podWith(changed(stepIs("app-export-0", corev1.ContainerState{Terminated: &end}), tt.pod))
			step.Namespace = "shop"
			o = observe.Observe(job, []corev1.Pod{*step}, began)
			g.Expect(o.Reason).To(Equal(v1alpha1.ReasonStepFailed))
			g.Expect(o.Message).To(And(HavePrefix("step app-export-0 of the task could not be started"), ofPod))
			g.Expect(strings.Contains(o.Message, "; the mover did not run. To mend it, raise "+ofStep+". If that ")).
				To(Equal(tt.reason == memory), o.Message)
		})
	}
}

// What ended a mover from outside says more than how it ended, if it has left no Result in time.
func TestWhatEndedAMoverFromOutsideCountsFirst(t *testing.T) {
	good := message(t, task.Result{Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded})
	told := message(t, task.Result{Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonCancelled, Message: "m"})
	killed := corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	toldAndKilled := corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: told}
	drained := podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI")
	lost := podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByTaintManager")
	ofKeeper := func(p *corev1.Pod) { p.Labels = map[string]string{v1alpha1.LabelKeeper: "x"} }
	const deletedAfter = "deleted before it ended. Besides, the mover was killed for its memory: raise addon."
	for name, tt := range map[string]struct {
		job       batchv1.JobCondition
		pod       func(*corev1.Pod)
		reason    string
		says      string
		oomKilled bool
	}{
		"killed for its memory, and evicted": {
			ended(batchv1.JobFailed, ""), changed(podEnded(killed), drained), v1alpha1.ReasonEvicted,
			"needs the room. Besides, the mover was killed for its memory: raise addon.", true,
		},
		"killed for its memory, and then deleted": {
			ended(batchv1.JobFailed, ""), changed(podEnded(killed), deleted),
			v1alpha1.ReasonPodDeleted, deletedAfter, true,
		},
		"killed for its memory, and deleted, and the Job still open": {
			batchv1.JobCondition{}, changed(podEnded(killed), deleted), v1alpha1.ReasonPodDeleted, deletedAfter, true,
		},
		"killed for its memory, and deleted, and the Job about to fail": {
			ended(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy), changed(podEnded(killed), deleted),
			v1alpha1.ReasonPodDeleted, deletedAfter, true,
		},
		"told to stop, killed for its memory, and deleted": {
			ended(batchv1.JobFailed, ""), changed(podEnded(toldAndKilled), deleted), v1alpha1.ReasonPodDeleted,
			"deleted before it ended$", false,
		},
		"told to stop, killed for its memory, and evicted": {
			ended(batchv1.JobFailed, ""), changed(podEnded(toldAndKilled), drained), v1alpha1.ReasonEvicted,
			"needs the room$", false,
		},
		"killed for its memory, and the node lost": {
			ended(batchv1.JobFailed, ""), changed(podEnded(killed), lost),
			v1alpha1.ReasonNodeLost, "was lost. Besides, the mover was killed for its memory: raise addon.", true,
		},
		"a keeper, killed for its memory, and evicted": {
			ended(batchv1.JobFailed, ""), changed(podEnded(killed), drained, ofKeeper), v1alpha1.ReasonEvicted,
			"Besides, the mover was killed for its memory: raise " +
				"runtimeSettings.container.resources.limits.memory of the BackupStorage. If ", true,
		},
		"killed, and the pod deleted": {
			ended(batchv1.JobFailed, ""), changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 137}), deleted),
			v1alpha1.ReasonPodDeleted, "deleted before it ended$", false,
		},
		"done, and then evicted": {
			ended(batchv1.JobFailed, ""),
			changed(podEnded(corev1.ContainerStateTerminated{ExitCode: 137, Message: good}), drained),
			v1alpha1.ReasonSucceeded, "^$", false,
		},
		"too late, and then evicted": {
			ended(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded), changed(podEnded(killed), drained),
			v1alpha1.ReasonDeadlineExceeded, "within its deadline$", true,
		},
		"in a step": {
			ended(batchv1.JobFailed, ""),
			changed(stepIs("app-export-0", corev1.ContainerState{Terminated: &killed}), drained),
			v1alpha1.ReasonEvicted, "needs the room, in step app-export-0$", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := observe.Observe(jobWith(tt.job), []corev1.Pod{*podWith(tt.pod)}, began)
			g.Expect(o.Reason).To(Equal(tt.reason))
			g.Expect(o.OOMKilled).To(Equal(tt.oomKilled))
			g.Expect(o.Message).To(MatchRegexp(tt.says))
		})
	}
}

// What a Function wrote is not what a container runtime says.
func TestWhatAContainerWroteDoesNotSayWhyItEnded(t *testing.T) {
	g := NewWithT(t)
	pod := podWith(podEnded(corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "OOM-killed"}))
	pod.Status.ContainerStatuses[0].Name = moverjob.FunctionContainerName
	o := observe.Observe(jobWith(ended(batchv1.JobFailed, "")), []corev1.Pod{*pod}, began)
	g.Expect(o.Reason).To(Equal(v1alpha1.ReasonJobFailed))
	g.Expect(o.OOMKilled).To(BeFalse())
}
