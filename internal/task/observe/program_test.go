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

// programmed adds the container with the programs of a database.
func programmed(state, last corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = append(p.Spec.InitContainers,
			corev1.Container{Name: task.ProgramContainer, RestartPolicy: &always})
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{
			Name: task.ProgramContainer, Image: "example.com/database", State: state, LastTerminationState: last,
		})
	}
}

func terminated(reason string, code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code}}
}

// The container with the programs of a database ends with the mover, and its own end decides nothing. But if the kernel
// killed it, that is why the mover failed.
func TestThePrograms(t *testing.T) {
	const failed = `{"version":1,"outcome":"Failed","reason":"DumpFailed","message":"pg_dump was lost"}`
	const unreachable = `{"version":1,"outcome":"Failed","reason":"Unreachable","message":"no route"}`
	const good = `{"version":1,"outcome":"Succeeded","reason":"Succeeded"}`
	none, stopped, killed := corev1.ContainerState{}, terminated("Completed", 0), terminated("OOMKilled", 137)
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	memory := "the container with the programs of the database was killed for its memory: raise " +
		"addon.jobTemplate.spec.resources.limits.memory, or"
	for name, tc := range map[string]struct {
		message, job string
		state, last  corev1.ContainerState
		reason, says string
	}{
		"stopped after the mover": {
			failed, "Failed", stopped, none, v1alpha1.ReasonDumpFailed, "pg_dump was lost",
		},
		"killed, and started again":        {failed, "Failed", running, killed, v1alpha1.ReasonOutOfMemory, memory},
		"killed, started again, stopped":   {failed, "Failed", stopped, killed, v1alpha1.ReasonOutOfMemory, memory},
		"killed at the end":                {failed, "Failed", killed, none, v1alpha1.ReasonOutOfMemory, memory},
		"killed at the end, stopped first": {failed, "Failed", killed, stopped, v1alpha1.ReasonOutOfMemory, memory},
		"killed, and another failure": {
			unreachable, "Failed", stopped, killed, v1alpha1.ReasonUnreachable, "no route",
		},
		"killed, and all is well": {good, "Complete", killed, killed, v1alpha1.ReasonSucceeded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			end := corev1.ContainerStateTerminated{Message: tc.message}
			if tc.job == "Failed" {
				end.ExitCode = 3
			}
			pod := podWith(changed(podEnded(end), programmed(tc.state, tc.last)))
			o := observe.Observe(jobWith(ended(batchv1.JobConditionType(tc.job), "")), []corev1.Pod{*pod}, began)
			g.Expect(o.Reason).To(Equal(tc.reason), o.Message)
			g.Expect(o.Message).To(HavePrefix(tc.says))
			g.Expect(o.Result).NotTo(BeNil())
		})
	}
}

// A container that runs beside the mover is no step before it, also where a cache has dropped the spec of the pod.
func TestTheProgramsAreNoStep(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"with its spec": func(*corev1.Pod) {}, "without its spec": func(p *corev1.Pod) { p.Spec.InitContainers = nil },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := podWith(changed(podEnded(corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}),
				programmed(terminated("Error", 137), corev1.ContainerState{}), change))
			o := observe.Observe(jobWith(ended(batchv1.JobFailed, "")), []corev1.Pod{*pod}, began)
			g.Expect(o.Reason).To(Equal(v1alpha1.ReasonOutOfMemory), o.Message)
			g.Expect(o.Message).To(HavePrefix("the mover was killed for its memory"))

			running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
			pod = podWith(changed(podWaits("PodInitializing"), programmed(running, corev1.ContainerState{}), change))
			o = observe.Observe(jobWith(), []corev1.Pod{*pod}, began)
			g.Expect(o.State).To(Equal(observe.StateWaiting), "the mover has not begun")
		})
	}
}

// The mover waits for the container with the programs. One that can't start would hold it for ever.
func TestProgramsThatDoNotStart(t *testing.T) {
	loop := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	small := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "StartError", ExitCode: 128, Message: "container init was OOM-killed (memory limit too low?): unknown",
	}}
	for name, tc := range map[string]struct {
		last         corev1.ContainerState
		after        time.Duration
		state        observe.State
		reason, says string
	}{
		"for a while": {
			terminated("StartError", 128), time.Minute, observe.StateWaiting, v1alpha1.ReasonPodNotStarted, "",
		},
		"for too long": {
			terminated("StartError", 128), 3 * time.Minute, observe.StateFailed, v1alpha1.ReasonPodNotStarted,
			"the container with the programs of the database, of the image example.com/database, can't be started: see",
		},
		"for lack of memory": {
			small, 3 * time.Minute, observe.StateFailed, v1alpha1.ReasonOutOfMemory,
			"the container with the programs of the database could not be started, most often because its memory limit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := podWith(changed(podWaits("PodInitializing"), programmed(loop, tc.last)))
			o := observe.Observe(jobWith(), []corev1.Pod{*pod}, began.Add(tc.after))
			g.Expect(o.State).To(Equal(tc.state))
			g.Expect(o.Reason).To(Equal(tc.reason))
			g.Expect(o.Message).To(HavePrefix(tc.says))
		})
	}
}
