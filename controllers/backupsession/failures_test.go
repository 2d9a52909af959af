package backupsession

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// trouble is a cluster in which a mover's Job comes to nothing.
type trouble struct {
	*world
	job *batchv1.Job
}

// pod creates the pod of the Job with this status.
func (b trouble) pod(edit func(*corev1.Pod)) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.Namespace, Name: b.job.Name + "-x1y2z", Labels: b.job.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(b.job,
				batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: *b.job.Spec.Template.Spec.DeepCopy(),
	}
	b.Expect(b.Client.Create(b.T.Context(), pod)).To(Succeed())
	pod.Status.Phase = corev1.PodPending
	edit(pod)
	b.Expect(b.Client.Status().Update(b.T.Context(), pod)).To(Succeed())
}

// failed marks the Job as failed.
func (b trouble) failed(reason string) {
	now := metav1.NewTime(b.Clock.Now())
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed} {
		b.job.Status.Conditions = append(b.job.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: now, LastProbeTime: now,
		})
	}
	b.job.Status.StartTime, b.job.Status.Failed = &now, 1
	b.Expect(b.Client.Status().Update(b.T.Context(), b.job)).To(Succeed())
}

// warn creates a warning event of the Job or of its pod.
func (b trouble) warn(kind, name, reason, message string) {
	b.Expect(b.Client.Create(b.T.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: b.Namespace, Name: name + ".1"},
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: b.Namespace, Name: name},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message,
	})).To(Succeed())
}

func waits(kind corev1.PodConditionType, status corev1.ConditionStatus, at time.Time) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(at)}
}

func died(end corev1.ContainerStateTerminated) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{Name: task.Container, State: corev1.ContainerState{Terminated: &end}}}
}

// Every failure of a Job ends its run with its own reason, within a bounded time, and leaves nothing at work.
func TestWhatGoesWrongWithAJob(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// wrong happens to every Job.
		wrong func(trouble)
		// after is the time that one failure takes at most.
		after           time.Duration
		reason, message string
		jobs            int
	}{
		"the Job is deleted": {reason: v1alpha1.ReasonJobVanished, jobs: 1, wrong: func(b trouble) {
			b.Reconcile("run")
			b.Expect(b.Client.Delete(b.T.Context(), b.job,
				client.PropagationPolicy(metav1.DeletePropagationBackground))).
				To(Succeed())
		}},
		"its pod is deleted": {
			reason: v1alpha1.ReasonPodDeleted, message: "was deleted before it ended", jobs: 2,
			wrong: func(b trouble) {
				b.failed("BackoffLimitExceeded")
			},
		},
		"its pod is evicted": {
			reason: v1alpha1.ReasonEvicted, message: "evicted from its node", jobs: 2,
			wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) {
					p.Status.Phase, p.Status.Reason, p.Status.ContainerStatuses = corev1.PodFailed, "Evicted",
						died(corev1.ContainerStateTerminated{ExitCode: 137})
				})
				b.failed("BackoffLimitExceeded")
			},
		},
		"its image is missing": {
			reason: v1alpha1.ReasonImagePullFailed, message: "image mover:test cannot be pulled",
			after: 3 * time.Minute, jobs: 1, wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) {
					p.Status.Conditions = []corev1.PodCondition{
						waits(corev1.PodScheduled, corev1.ConditionTrue, b.Clock.Now()),
					}
					p.Status.ContainerStatuses = []corev1.ContainerStatus{{
						Name: task.Container, Image: "mover:test",
						State: corev1.ContainerState{
							Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"},
						},
					}}
				})
			},
		},
		"its node is gone": {
			reason: v1alpha1.ReasonNodeLost, message: "no longer answers", after: 6 * time.Minute,
			jobs: 2, wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) {
					p.Status.Phase = corev1.PodRunning
					p.Status.Conditions = []corev1.PodCondition{
						waits(corev1.PodReady, corev1.ConditionUnknown, b.Clock.Now()),
					}
				})
			},
		},
		"its memory does not suffice": {
			reason:  v1alpha1.ReasonOutOfMemory,
			message: "raise addon.jobTemplate.spec.resources.limits.memory", jobs: 2, wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) {
					p.Status.Phase, p.Status.ContainerStatuses = corev1.PodFailed,
						died(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"})
				})
				b.failed("BackoffLimitExceeded")
			},
		},
		"a quota forbids its pod": {
			reason: v1alpha1.ReasonQuotaExceeded, message: "exceeded quota: small",
			after: 6 * time.Minute, jobs: 1, wrong: func(b trouble) {
				b.warn("Job", b.job.Name, "FailedCreate",
					`pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3`)
			},
		},
		"something forbids its pod": {
			reason: v1alpha1.ReasonPodNotCreated, message: "no pod could be created",
			after: 6 * time.Minute, jobs: 1, wrong: func(trouble) {},
		},
		"no node can take its pod": {
			reason: v1alpha1.ReasonUnschedulable, message: "0/3 nodes are available",
			after: 6 * time.Minute, jobs: 1, wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) {
					c := waits(corev1.PodScheduled, corev1.ConditionFalse, b.Clock.Now())
					c.Reason, c.Message = corev1.PodReasonUnschedulable, "0/3 nodes are available"
					p.Status.Conditions = []corev1.PodCondition{c}
				})
			},
		},
		"a volume can't be mounted": {
			reason: v1alpha1.ReasonVolumeMountFailed, message: "Multi-Attach error",
			after: 16 * time.Minute, jobs: 1, wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) {
					p.Status.Conditions = []corev1.PodCondition{
						waits(corev1.PodScheduled, corev1.ConditionTrue, b.Clock.Now()),
						waits(corev1.PodReadyToStartContainers, corev1.ConditionFalse, b.Clock.Now()),
					}
				})
				b.warn("Pod", b.job.Name+"-x1y2z", "FailedAttachVolume", "Multi-Attach error for volume data")
			},
		},
		"it takes too long": {
			reason: v1alpha1.ReasonDeadlineExceeded, message: "the deadline of the run passed",
			after: time.Hour, jobs: 1, wrong: func(b trouble) {
				b.pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
			},
		},
		"Kubernetes reports that it took too long": {
			reason: v1alpha1.ReasonDeadlineExceeded, message: "within its deadline",
			jobs: 1, wrong: func(b trouble) {
				b.failed(batchv1.JobReasonDeadlineExceeded)
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configuration()
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			happened := map[string]bool{}
			began := w.Clock.Now()
			for round := 0; round < 12 && !w.session("run").Status.Phase.Terminal(); round++ {
				result := w.Reconcile("run")
				jobs := w.Jobs()
				wrong := false
				for i := range jobs {
					if job := &jobs[i]; job.DeletionTimestamp != nil {
						before := job.DeepCopy() // its pods are gone
						job.Finalizers = nil
						w.Expect(client.IgnoreNotFound(w.Client.Patch(t.Context(), job, client.MergeFrom(before)))).
							To(Succeed())
					} else if !happened[job.Name] {
						happened[job.Name], wrong = true, true
						test.wrong(trouble{w, job})
					}
				}
				if !wrong && result.RequeueAfter > 0 {
					w.Clock.SetTime(w.Clock.Now().Add(result.RequeueAfter))
				}
			}
			s := w.session("run")
			w.Expect(summary(s)).To(Equal([]string{"Failed/" + test.reason, "uploads: Failed/" + test.reason}))
			w.Expect(s.Status.Targets[0].Message).To(ContainSubstring(test.message))
			w.Expect(happened).To(HaveLen(test.jobs), "Jobs that were made")
			w.Expect(w.Clock.Now().Sub(began)).To(BeNumerically("<=", time.Duration(test.jobs)*test.after+time.Second),
				"within its time")
			w.Expect(w.snapshot("uploads-run").Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
			w.Reconcile("run")
			for _, job := range w.Jobs() {
				if len(job.Status.Conditions) == 0 {
					w.Expect(job.DeletionTimestamp).NotTo(BeNil(), "nothing stays at work: %s", job.Name)
				}
			}
		})
	}
}

// A pod can be made to report anything. The run must not take a failure for a success, nor hide that of another mover.
func TestAFailureThatCallsItselfSucceededIsAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoRepositories()
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if strings.Contains(job.Labels[v1alpha1.LabelSnapshot], "second") {
			return kubelet.Fail(v1alpha1.ReasonStorageFull)
		}
		return kubelet.Fail(v1alpha1.ReasonSucceeded)
	}
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Expect(summary(w.settle("run"))).To(HaveExactElements("Failed/Failed", "uploads: Failed/Failed"))
	w.Expect(w.snapshot("uploads-run").Status.Components["pvc"].Reason).To(Equal(v1alpha1.ReasonFailed))
}

// A value that no condition or status can have must not hold up the run.
func TestAMoverThatReportsAnythingHoldsUpNothing(t *testing.T) {
	t.Parallel()
	reports := func(outcome task.Outcome, c task.ComponentResult) kubelet.Outcome {
		c.Name, c.Outcome = "pvc", outcome
		return kubelet.Report(task.Result{
			Outcome: task.OutcomeSucceeded, Reason: v1alpha1.ReasonSucceeded, Components: []task.ComponentResult{c},
		})
	}
	failed := []any{"Failed/Failed", "uploads: Failed/Failed"}
	for name, tt := range map[string]struct {
		outcome kubelet.Outcome
		want    []any
	}{
		"a reason of two words": {kubelet.Fail("two words\nof a mover"), failed},
		"a long ID": {
			reports(task.OutcomeSucceeded, task.ComponentResult{ID: strings.Repeat("k", 129)}), failed,
		},
		"a failure that is called a success": {reports(task.OutcomeFailed, task.ComponentResult{ID: "k"}), failed},
		"a long error": {
			reports(task.OutcomeFailed, task.ComponentResult{Error: strings.Repeat("e", 2500)}), failed,
		},
		"a long duration": {
			reports(task.OutcomeSucceeded, task.ComponentResult{ID: "k", Duration: strings.Repeat("1", 40)}),
			[]any{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configuration()
			w.Outcome = func(*batchv1.Job) kubelet.Outcome { return tt.outcome }
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Expect(summary(w.settle("run"))).To(HaveExactElements(tt.want...))
			var snapshot v1alpha1.Snapshot
			key := client.ObjectKey{Namespace: w.Namespace, Name: "uploads-run"}
			w.Expect(w.Client.Get(t.Context(), key, &snapshot)).To(Succeed())
			c := snapshot.Status.Components["pvc"]
			w.Expect(c.Phase == v1alpha1.SnapshotFailed).To(Equal(c.Reason == v1alpha1.ReasonFailed), "%v", c)
		})
	}
}
