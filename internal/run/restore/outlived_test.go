package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// besideProxy returns the Job of pod-0, whose mover ended at the time of the tests. A webhook of the cluster has added
// a container, which runs on.
func besideProxy(message string, now time.Time) run.Job {
	at := metav1.NewTime(runtest.Now)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "job", CreationTimestamp: at}}
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", CreationTimestamp: at, OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: task.Container, State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{FinishedAt: at, Message: message},
			}},
			{Name: "istio-proxy", State: corev1.ContainerState{
				Running: &corev1.ContainerStateRunning{StartedAt: at},
			}},
		}},
	}
	return run.Job{Observation: observe.Observe(job, []corev1.Pod{pod}, now), Created: at.Time}
}

// withoutTimeout is a frozen restore of pod-0, with the default timeout.
func withoutTimeout() *restoring {
	r := newRestoring(nil)
	r.session.Status = v1alpha1.RestoreSessionStatus{}
	start := restore.Start{Resolved: v1alpha1.ResolvedRestore{
		TargetUID: "uid-target", Hosts: []v1alpha1.ResolvedRestoreHost{restoreHost("pod-0", "pod-0")},
	}}
	r.session.Status = restore.Next(restore.Input{Now: runtest.Now, Session: r.session, Start: &start}).Status
	r.step()
	r.pods = 1
	return r
}

func TestARestoreEndsAlthoughAnInjectedContainerRunsOn(t *testing.T) {
	g := NewWithT(t)
	r, name := withoutTimeout(), restore.JobName("r", "pod-0", 1)
	r.jobs[name] = besideProxy("", r.at)
	r.step()
	// The mover has written to the status that it is done.
	r.session.Status.Components["pod-0"] = v1alpha1.RestoredComponent{Phase: restoreSucceeded, ID: "k1"}
	d := r.step()
	g.Expect(d.Delete).To(BeEmpty(), "a pod may take a moment to end")
	g.Expect(d.After).To(Equal(time.Minute))
	r.at = r.at.Add(time.Minute)
	r.jobs[name] = besideProxy("", r.at)
	d = r.step()
	g.Expect(d.Delete).To(Equal([]string{name}))
	g.Expect(d.Status.Phase).To(Equal(restoreRunning), "whoever waits for the restore wants to mount the volume")
	g.Expect(d.After).To(BeNumerically(">", 0), "on a node that died, the pod never goes")
	g.Expect(r.step().Status.Phase).To(Equal(restoreSucceeded), "the Job is gone")
}

// If the manager were killed between the deletion of the Job and the write of the status, the report would be lost.
func TestAReportIsWrittenDownBeforeItsJobIsDeleted(t *testing.T) {
	g := NewWithT(t)
	r, name := withoutTimeout(), restore.JobName("r", "pod-0", 1)
	message, err := task.EncodeResult(task.Result{Outcome: task.OutcomeSucceeded, Components: []task.ComponentResult{
		{Name: "pod-0", Outcome: task.OutcomeSucceeded},
	}})
	g.Expect(err).NotTo(HaveOccurred())
	r.at = r.at.Add(time.Minute)
	r.jobs[name] = besideProxy(string(message), r.at)
	d := r.step()
	g.Expect(d.Status.Components["pod-0"].Phase).To(Equal(restoreSucceeded))
	g.Expect(d.Delete).To(BeEmpty())
	g.Expect(d.After).To(BeNumerically(">", 0))
	g.Expect(r.step().Delete).To(Equal([]string{name}))
	g.Expect(r.step().Status.Phase).To(Equal(restoreSucceeded))
}

// The mover has written its success, and then its node died: its Job never ends.
func TestARestoreThatSucceededOnADeadNodeEnds(t *testing.T) {
	g := NewWithT(t)
	r, name := withoutTimeout(), restore.JobName("r", "pod-0", 1)
	r.session.Status.Components["pod-0"] = v1alpha1.RestoredComponent{Phase: restoreSucceeded, ID: "k1"}
	r.jobs[name] = runtest.Died(v1alpha1.ReasonNodeLost, false)
	g.Expect(r.step().Delete).To(Equal([]string{name}))
	g.Expect(r.step().Status.Phase).To(Equal(restoreSucceeded))
}
