package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// fromSecond names the restore point.
func fromSecond(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.BackupSession = "second" }

// leftDown makes a RestoreBatch fail half-way, so that it leaves the Deployment without replicas.
func (w *world) leftDown() {
	w.T.Helper()
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).RestoreSession.Name == "first-uploads" {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return kubelet.Succeed(job)
	}
	w.restore("first", scalesWeb, fromSecond)
	w.Expect(w.settle("first").Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	w.Expect(w.replicas()).To(BeZero())
}

// Otherwise the repeated RestoreBatch would succeed, and the application would stay down.
func TestTheNextRestoreBatchKnowsTheReplicasOfTheOneThatLeftAWorkloadDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.leftDown()
	w.restore("again", scalesWeb, fromSecond)
	b := w.settle("again")
	w.Expect(summary(b)[0]).To(HavePrefix("Invalid/ConfirmationMissing"), "web and db hold what the first has restored")
	w.Expect(b.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring("leave that target out"))))
	w.Expect(w.replicas()).To(BeZero())
	w.restore("rest", scalesWeb, fromSecond, func(b *v1alpha1.RestoreBatch) {
		b.Spec.Targets = []v1alpha1.RestoreBatchTarget{{Name: "uploads"}}
	})
	w.Expect(summary(w.settle("rest"))[0]).To(Equal("Succeeded/Succeeded of second"))
	w.Expect(w.replicas()).To(Equal(int32(2)))
}

// The data is as the first one left it.
func TestARestoreBatchThatTouchesNothingStartsNoWorkloadThatAnotherLeftDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.leftDown()
	w.restore("typo", scalesWeb, func(b *v1alpha1.RestoreBatch) { b.Spec.ScaleDown[0].Replicas = new(int32(2)) })
	w.Reconcile("typo")
	b := w.batch("typo")
	w.Expect(b.Status.Resolved).NotTo(BeNil())
	w.Expect(w.Client.Delete(t.Context(), b)).To(Succeed())
	w.Expect(w.settle("typo").Status.Reason).To(Equal(v1alpha1.ReasonCancelled))
	w.Expect(w.replicas()).To(BeZero())
}

// Whoever forgets confirm learns that from the RestoreBatch, and the application goes on with the data that it had.
func TestAWorkloadComesBackWhereEveryTargetRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		o := kubelet.Fail(v1alpha1.ReasonVolumeNotEmpty)
		for _, c := range kubelet.TaskOf(job).Components {
			o.Result.Components = append(o.Result.Components, task.ComponentResult{
				Name: c.Name, Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonVolumeNotEmpty, TargetUntouched: true,
			})
		}
		return o
	}
	w.restore("back", scalesWeb)
	b := w.settle("back")
	w.Expect(b.Status.Targets).To(HaveEach(And(
		HaveField("Reason", v1alpha1.ReasonVolumeNotEmpty), HaveField("Message", ContainSubstring("confirm")))))
	w.Expect(w.replicas()).To(Equal(int32(2)))
}

// A quota, or a cluster that is full, must not take an application down that has all its data.
func TestAWorkloadComesBackWhereNoMoverBegan(t *testing.T) {
	t.Parallel()
	for name, hooks := range map[string]bool{"without hooks": false, "after a hook, which can have written": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			w.restore("back", scalesWeb, func(b *v1alpha1.RestoreBatch) {
				if hooks {
					b.Spec.Hooks = w.RestoreHooks(sessiontest.Listen(t))
				}
			})
			w.Eventually(func() []batchv1.Job {
				w.Reconcile("back")
				return w.Jobs()
			}).WithTimeout(testbed.Patience).WithPolling(5 * time.Millisecond).Should(HaveLen(3))
			w.Expect(w.replicas()).To(BeZero())
			w.Clock.SetTime(w.Clock.Now().Add(10 * time.Minute))
			b := w.drive()
			w.Expect(b.Status.Targets).To(HaveEach(HaveField("Reason", v1alpha1.ReasonPodNotCreated)))
			if hooks {
				w.Expect(w.replicas()).To(BeZero())
			} else {
				w.Expect(w.replicas()).To(Equal(int32(2)))
			}
		})
	}
}

// The first of them to end would start the application while the other one restores.
func TestOneRestoreBatchAtATimeScalesAWorkload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pod := w.deployment("kubectl")
	w.restore("first", scalesWeb)
	for range 2 {
		w.Reconcile("first")
	}
	w.Expect(w.replicas()).To(BeZero())
	w.restore("second", scalesWeb, fromSecond)
	w.Reconcile("second")
	second := w.batch("second").Status
	w.Expect([]any{second.Phase, second.Reason}).
		To(Equal([]any{v1alpha1.RestoreSessionPending, v1alpha1.ReasonRestoreInProgress}))
	w.gone(pod)
	w.Expect(summary(w.settle("first"))).To(Equal(whole("second")))
	w.Expect(w.replicas()).To(Equal(int32(2)))
	w.Reconcile("second")
	w.Expect(w.batch("second").Status.Resolved).NotTo(BeNil(), "it begins when the first has ended")
}
