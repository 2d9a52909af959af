package restorebatch

import (
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// deployment creates a Deployment with two replicas, as a user or a tool applies it, and a pod of it.
func (w *world) deployment(manager string) *corev1.Pod {
	w.T.Helper()
	labels := map[string]string{"app": "web"}
	pod := corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}
	w.Expect(w.Client.Create(w.T.Context(), d, client.FieldOwner(manager))).To(Succeed())
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web-1", Labels: labels}, Spec: pod}
	w.Expect(w.Client.Create(w.T.Context(), p)).To(Succeed())
	return p
}

func (w *world) replicas() int32 {
	w.T.Helper()
	var d appsv1.Deployment
	w.Get("web", &d)
	return *d.Spec.Replicas
}

func (w *world) generation() int64 {
	w.T.Helper()
	var d appsv1.Deployment
	w.Get("web", &d)
	return d.Generation
}

// gone ends a pod, as the kubelet does.
func (w *world) gone(p *corev1.Pod) {
	w.T.Helper()
	w.Expect(w.Client.Delete(w.T.Context(), p, client.GracePeriodSeconds(0))).To(Succeed())
}

func scalesWeb(b *v1alpha1.RestoreBatch) {
	b.Spec.ScaleDown = []v1alpha1.ScaleDown{{Kind: "Deployment", Name: "web"}}
}

func TestAWorkloadIsScaledDownWhileItIsRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pod := w.deployment("kubectl-client-side-apply")
	during := int32(-1)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		during = w.replicas()
		return kubelet.Succeed(job)
	}
	w.restore("back", scalesWeb)
	var scaled []string
	for range 4 {
		scaled = append(scaled, w.LoggedAt(0, "back", "scaled")...)
		w.Cluster()
	}
	w.Expect(scaled).To(HaveExactElements(HaveSuffix(
		`"deployment"={"name"="web" "namespace"=%q} "from"=2 "to"=0`, w.Namespace)))
	w.Expect(w.replicas()).To(BeZero())
	w.Expect(w.children()).To(BeEmpty(), "nothing is restored while a pod exists")
	w.Expect(apimeta.FindStatusCondition(w.batch("back").Status.Conditions, "Ready").Message).
		To(ContainSubstring("waiting for the pods of Deployment/web to end"))
	w.gone(pod)
	b := w.settle("back")
	w.Expect(summary(b)).To(Equal(whole("second")))
	w.Expect(during).To(BeZero())
	w.Expect(w.replicas()).To(Equal(int32(2)))
	w.Expect(b.Status.ScaledDown).To(HaveLen(1))
	w.Expect(b.Status.ScaledDown[0].Phase).To(Equal(v1alpha1.ScaleUpDone))
}

// A workload that starts on half of its data is worse than one that does not run.
func TestAWorkloadStaysDownWhereNotAllWasRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if kubelet.TaskOf(job).RestoreSession.Name == "back-uploads" {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return kubelet.Succeed(job)
	}
	w.restore("back", scalesWeb)
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	w.Expect(w.replicas()).To(BeZero())
	w.Expect(b.Status.ScaledDown[0].Message).
		To(ContainSubstring("kubectl scale -n " + w.Namespace + " deployment/web --replicas=2"))
}

func TestAWorkloadWhoseSidecarRestoresIsNotScaledDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployment("kubectl")
	w.restore("back", scalesWeb, func(b *v1alpha1.RestoreBatch) {
		b.Spec.Targets[0].Executor = v1alpha1.ExecutorSidecar
		b.Spec.Targets[0].Target = &v1alpha1.TypedObjectReference{
			APIGroup: "apps", Kind: v1alpha1.KindDeployment,
			Name: "web",
		}
	})
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
	w.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).
		To(ContainSubstring("the sidecar in its pods restores target web: set executor Job"))
	w.Expect(w.replicas()).To(Equal(int32(2)))
	w.Expect(w.children()).To(BeEmpty())
}

// Otherwise the restore would wait minutes for a pod that was scaled away.
func TestAWorkloadWhoseAddonRestoresInItsSidecarIsNotScaledDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployment("kubectl")
	addon := &v1alpha1.Addon{
		ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
		Spec: v1alpha1.AddonSpec{RestoreTasks: []v1alpha1.Task{{
			Name: "inside", Driver: v1alpha1.DriverKopia, Function: "cairn-mover", Executor: v1alpha1.ExecutorSidecar,
		}}},
	}
	sessiontest.Create(t, w.Client, addon)
	w.restore("back", scalesWeb, func(b *v1alpha1.RestoreBatch) {
		b.Spec.Targets[0].Addon = &v1alpha1.AddonInfo{
			Name: addon.Name, Tasks: []v1alpha1.TaskReference{{Name: "inside"}},
		}
		b.Spec.Targets[0].Target = &v1alpha1.TypedObjectReference{
			APIGroup: "apps", Kind: v1alpha1.KindDeployment,
			Name: "web",
		}
	})
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
	w.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).
		To(ContainSubstring("the sidecar in its pods restores target web: set executor Job"))
	w.Expect(w.replicas()).To(Equal(int32(2)))
}

func TestAWorkloadThatSomebodyScalesUpMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		var d appsv1.Deployment
		w.Get("web", &d)
		d.Spec.Replicas = new(int32(1))
		w.Expect(w.Client.Update(t.Context(), &d)).To(Succeed())
		return kubelet.Succeed(job)
	}
	w.restore("back", scalesWeb)
	b := w.settle("back")
	w.Expect([]any{b.Status.Phase, b.Status.Reason}).
		To(Equal([]any{v1alpha1.RestoreSessionFailed, v1alpha1.ReasonReplicasChanged}))
	w.Expect(w.replicas()).To(Equal(int32(1)), "the replicas belong to somebody else now")
}

// Pods that existed for a while leave no trace but the generation of their workload.
func TestAWorkloadThatSomebodyScalesUpAndDownMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	once := false
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		for _, n := range []int32{1, 0} {
			if once {
				break
			}
			var d appsv1.Deployment
			w.Get("web", &d)
			d.Spec.Replicas = new(n)
			w.Expect(w.Client.Update(t.Context(), &d)).To(Succeed())
			once = n == 0
		}
		return kubelet.Succeed(job)
	}
	w.restore("back", scalesWeb)
	b := w.settle("back")
	w.Expect([]any{b.Status.Phase, b.Status.Reason}).
		To(Equal([]any{v1alpha1.RestoreSessionFailed, v1alpha1.ReasonReplicasChanged}))
	w.Expect(b.Status.ScaledDown[0].Phase).To(Equal(v1alpha1.ScaleDisturbed))
}

// A Deployment whose controller lags can still get a pod.
func TestTheControllerOfAWorkloadIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.restore("back", scalesWeb)
	alone := reconciler(w.World)
	for range 5 { // no reconciler plays the Deployment's controller
		_, err := alone.Reconcile(t.Context(),
			ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.Namespace, Name: "back"}})
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(w.replicas()).To(BeZero())
	w.Expect(w.children()).To(BeEmpty())
	w.Expect(summary(w.settle("back"))).To(Equal(whole("second")))
}

func TestARestoreBatchThatIsMadeAnewScalesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.restore("back", scalesWeb)
	w.settle("back")
	w.forget("back")
	before := w.generation()
	w.restore("back", scalesWeb)
	w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionSkipped))
	w.Expect(w.generation()).To(Equal(before))
}

// A RestoreBatch that is deleted before anything was restored leaves the workload as it was.
func TestDeletedWhilePodsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployment("kubectl")
	w.restore("back", scalesWeb)
	for range 3 {
		w.Reconcile("back")
	}
	w.Expect(w.replicas()).To(BeZero())
	w.Expect(w.Client.Delete(t.Context(), w.batch("back"))).To(Succeed())
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonCancelled))
	w.Expect(w.replicas()).To(Equal(int32(2)))
}

// If the manager is killed at any of its writes, the workload still gets its replicas back.
func TestKilledWhileItScales(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) *world {
		w := newWorld(t)
		w.Killer = killer
		w.gone(w.deployment("kubectl"))
		w.restore("back", scalesWeb)
		return w
	}
	undisturbed := &sessiontest.Killer{}
	w := start(t, undisturbed)
	w.Expect(summary(w.settle("back"))).To(Equal(whole("second")))
	writes := undisturbed.Count()
	w.Expect(writes).To(BeNumerically(">", 10))
	for name, killer := range sessiontest.KillPoints(writes) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, killer)
			b := w.settle("back")
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(summary(b)).To(Equal(whole("second")))
			w.Expect(b.Status.ScaledDown[0].Phase).To(Equal(v1alpha1.ScaleUpDone), b.Status.ScaledDown[0].Message)
			w.Expect(w.replicas()).To(Equal(int32(2)))
			w.Expect(w.Jobs()).To(HaveLen(3))
		})
	}
}

// Whatever the moments at which they begin, one has the workload until it has ended, and the other waits for that.
func TestOfTwoRestoreBatchesOfTheSameMomentTheOlderOneScales(t *testing.T) {
	t.Parallel()
	for range 3 {
		w := newWorld(t)
		w.gone(w.deployment("kubectl"))
		w.restore("one", scalesWeb)
		w.restore("two", scalesWeb)
		first, second := w.batch("one"), w.batch("two")
		if second.CreationTimestamp.Equal(&first.CreationTimestamp) && second.UID < first.UID {
			first, second = second, first
		}
		r := reconciler(w.World)
		var both sync.WaitGroup
		for _, b := range []*v1alpha1.RestoreBatch{second, first} {
			both.Go(func() {
				_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(b)})
				w.Expect(err).NotTo(HaveOccurred())
			})
		}
		both.Wait()
		w.Expect(w.batch(first.Name).Status.ScaledDown).To(HaveLen(1))
		w.Expect(w.batch(second.Name).Status).To(And(
			HaveField("Reason", v1alpha1.ReasonRestoreInProgress), HaveField("ScaledDown", BeEmpty())))
	}
}
