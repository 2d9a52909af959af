package restoresession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// The node is drained while the mover writes: the mover reports that it was told to stop, and ends. That is no end of
// the restore. The next mover goes where the application's pod has the volume by then.
func TestARestoreWhoseNodeIsDrainedIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stopped := task.ComponentResult{
		Name: "pvc", Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonCancelled, TargetWritten: true,
		Error: "the mover was told to stop",
	}
	w.Outcome = func(*batchv1.Job) kubelet.Outcome {
		return kubelet.Report(task.Result{
			Outcome: task.OutcomeFailed, Reason: stopped.Reason, Message: stopped.Error,
			Components: []task.ComponentResult{stopped},
		})
	}
	app := sessiontest.Pod(w.Namespace, "web-1", "node-a", "target", nil)
	sessiontest.Create(t, w.Client, app)
	w.restore("restore", w.confirmed("target"), once)
	w.Reconcile("restore")
	movers, err := dynamic.NewForConfig(bed.Config)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(report.APIStatus{Client: movers, Namespace: w.Namespace}.Restore(t.Context(),
		task.Object{Name: "restore", UID: w.session("restore").UID}, "pvc", stopped.Restored())).To(Succeed())
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Running/Running"), "its pod is not done")

	w.Cluster()
	var pods corev1.PodList
	w.Expect(w.Client.List(t.Context(), &pods, client.InNamespace(w.Namespace),
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})).To(Succeed())
	w.Expect(pods.Items).To(HaveLen(1))
	pods.Items[0].Status.Conditions = append(pods.Items[0].Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
	})
	w.Expect(w.Client.Status().Update(t.Context(), &pods.Items[0])).To(Succeed())
	w.Reconcile("restore")
	s := w.session("restore")
	w.Expect(ending(s)).To(Equal("Running/Retrying"))
	w.Expect(s.Status.Components["pvc"].Reason).To(Equal(v1alpha1.ReasonEvicted))
	w.Expect(w.Client.Delete(t.Context(), app, client.GracePeriodSeconds(0))).To(Succeed())
	sessiontest.Create(t, w.Client, sessiontest.Pod(w.Namespace, "web-2", "node-b", "target", nil))

	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		w.Expect(kubelet.TaskOf(job).Components[0].Resume).To(BeTrue(), "the volume holds what the first mover wrote")
		return kubelet.Succeed(job)
	}
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
	w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
	var nodes []string
	for _, job := range w.Jobs() {
		affinity := job.Spec.Template.Spec.Affinity.NodeAffinity
		terms := affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		nodes = append(nodes, terms[0].MatchFields[0].Values...)
	}
	w.Expect(nodes).To(ConsistOf("node-a", "node-b"), "where the volume is when the attempt begins")
	w.Expect(w.session("restore").Status.Resolved.Hosts[0].Node).To(Equal("node-a"), "what is frozen stays")
}
