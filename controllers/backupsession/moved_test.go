package backupsession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// nodeOf returns the node that a Job demands, or "".
func nodeOf(job *batchv1.Job) string {
	a := job.Spec.Template.Spec.Affinity
	if a == nil || a.NodeAffinity == nil {
		return ""
	}
	return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
}

// nodes returns the nodes that the Jobs of the namespace demand.
func (w *world) nodes() []string {
	w.T.Helper()
	jobs := w.Jobs()
	return names(jobs, nodeOf)
}

// bind gives a pod its node.
func (w *world) bind(pod *corev1.Pod, node string) {
	w.T.Helper()
	w.Expect(w.Client.SubResource("binding").Create(w.T.Context(), pod, &corev1.Binding{
		Target: corev1.ObjectReference{Kind: "Node", Name: node},
	})).To(Succeed())
}

// drained returns a world in which node-a is drained: the mover there was evicted, and the pod web-1 is being deleted.
func drained(t *testing.T) (w *world, app *corev1.Pod) {
	t.Helper()
	w = newWorld(t)
	w.configuration()
	app = sessiontest.Pod(w.Namespace, "web-1", "node-a", "uploads", nil)
	sessiontest.Create(t, w.Client, app)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	jobs := w.Jobs()
	w.Expect(w.nodes()).To(Equal([]string{"node-a"}))
	mover := trouble{w, &jobs[0]}
	mover.pod(func(p *corev1.Pod) {
		p.Status.Phase, p.Status.Reason, p.Status.ContainerStatuses = corev1.PodFailed, "Evicted",
			died(corev1.ContainerStateTerminated{ExitCode: 143})
	})
	mover.failed("BackoffLimitExceeded")
	w.Expect(w.Client.Delete(t.Context(), app)).To(Succeed())
	return w, app
}

func TestTheSecondMoverGoesWhereTheVolumeIs(t *testing.T) {
	t.Parallel()
	w, app := drained(t)
	waits := func(why string) {
		t.Helper()
		w.Expect(w.Reconcile("run").RequeueAfter).To(Equal(run.PollInterval), "nothing wakes it")
		w.Expect(w.nodes()).To(Equal([]string{"node-a"}), why)
		w.Expect(w.session("run").Status.Targets).To(HaveExactElements(And(
			HaveField("Reason", v1alpha1.ReasonVolumeMoving), HaveField("Message", ContainSubstring(why)))))
	}
	waits("pod web-1 uses PersistentVolumeClaim uploads and is being deleted")
	w.Expect(w.Client.Delete(t.Context(), app, client.GracePeriodSeconds(0))).To(Succeed())
	next := sessiontest.Pod(w.Namespace, "web-2", "", "uploads", nil)
	next.Status.Phase = corev1.PodPending
	sessiontest.Create(t, w.Client, next)
	waits("pod web-2 uses PersistentVolumeClaim uploads and has no node yet")

	w.bind(next, "node-b")
	w.Reconcile("run")
	w.Expect(w.nodes()).To(Equal([]string{"node-a", "node-b"}))
	w.Expect(w.session("run").Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonRunning))
	w.Expect(summary(w.settle("run"))).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	w.Expect(w.session("run").Status.Resolved.Targets[0].Hosts[0].Node).To(Equal("node-a"), "what is frozen stays")
}

func TestTheSecondMoverWaitsForAPodForThreeMinutes(t *testing.T) {
	t.Parallel()
	w, _ := drained(t)
	w.Clock.SetTime(w.Clock.Now().Add(run.WaitForNode - 10*time.Second))
	w.Reconcile("run")
	w.Expect(w.nodes()).To(Equal([]string{"node-a"}))
	w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
	w.Reconcile("run")
	w.Expect(w.nodes()).To(Equal([]string{"", "node-a"}), "the pod does not leave its node, which takes no new pod")
}

// A node that answers now and then begins to be lost anew each time. A pod that is made again and again does the same.
func TestTheSecondMoverWaitsNineMinutesInAll(t *testing.T) {
	t.Parallel()
	w, app := drained(t)
	w.Expect(w.Client.Delete(t.Context(), app, client.GracePeriodSeconds(0))).To(Succeed())
	next := sessiontest.Pod(w.Namespace, "web-2", "node-b", "uploads", nil)
	sessiontest.Create(t, w.Client, next)
	w.Clock.SetTime(w.Clock.Now().Add(30 * time.Minute)) // for so long the first mover has worked
	began := w.Clock.Now()
	for i := 0; len(w.nodes()) == 1 && i < 60; i++ {
		w.Clock.SetTime(began.Add(time.Duration(i) * 30 * time.Second))
		bed.EditStatus(t, next, func() {
			next.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionUnknown,
				LastTransitionTime: metav1.NewTime(w.Clock.Now()),
			}}
		})
		w.Reconcile("run")
	}
	w.Expect(w.nodes()).To(Equal([]string{"", "node-a"}))
	w.Expect(w.Clock.Now().Sub(began)).To(BeNumerically("~", 3*run.WaitForNode, time.Minute))
}

// Between the start of a run and the turn of a target, its pods can have moved.
func TestATargetThatHadToWaitForItsTurnIsBackedUpWhereItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.batch(sequential)
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Reconcile("run")
	w.Expect(w.nodes()).To(Equal([]string{"node-a"}), "of web, the first target")
	labels := map[string]string{"app": "db"}
	w.Expect(w.Client.Delete(t.Context(), sessiontest.Pod(w.Namespace, "db-0", "", "", nil),
		client.GracePeriodSeconds(0))).To(Succeed())
	sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "db-0", "node-c", "data-db-0", labels))
	w.Cluster() // the mover of web has ended
	w.Clock.SetTime(w.Clock.Now().Add(10 * time.Minute))
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		w.Expect(nodeOf(job)).NotTo(Equal("node-b"), "the volume has left it")
		return kubelet.Succeed(job)
	}
	w.Expect(w.settle("run").Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
	w.Expect(w.nodes()).To(Equal([]string{"", "", "node-a", "node-c"}))
}
