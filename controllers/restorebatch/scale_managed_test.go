package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/scaling"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// autoscaler creates a HorizontalPodAutoscaler for the Deployment.
func (w *world) autoscaler() {
	w.T.Helper()
	sessiontest.Create(w.T, w.Client, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "busy"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				APIVersion: "apps/v1", Kind: "Deployment", Name: "web",
			},
			MaxReplicas: 5,
		},
	})
}

// applied applies the Deployment as a GitOps tool does, with its replicas or without.
func (w *world) applied(with bool) {
	w.T.Helper()
	var d appsv1.Deployment
	w.Get("web", &d)
	d.ObjectMeta = metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"}
	d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d)
	w.Expect(err).NotTo(HaveOccurred())
	delete(content, "status")
	if !with {
		unstructured.RemoveNestedField(content, "spec", "replicas")
	}
	w.Expect(w.Client.Apply(w.T.Context(),
		client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: content}),
		client.FieldOwner("kustomize-controller"), client.ForceOwnership)).To(Succeed())
}

// scaled scales the Deployment as kubectl scale does.
func (w *world) scaled(replicas int32) {
	w.T.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"}}
	scale := &autoscalingv1.Scale{ObjectMeta: d.ObjectMeta, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	w.Expect(w.Client.SubResource("scale").Update(w.T.Context(), d, client.WithSubResourceBody(scale),
		client.FieldOwner("kubectl"))).To(Succeed())
}

func TestAWorkloadThatSomethingElseScales(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		happens func(*world)
		message string
		left    int32
	}{
		"a GitOps tool": {
			happens: func(w *world) { w.applied(true) },
			message: "its replicas are managed by field manager kustomize-controller", left: 2,
		},
		"an autoscaler": {
			happens: func(w *world) { w.autoscaler() },
			message: "its replicas are managed by HorizontalPodAutoscaler busy", left: 2,
		},
		"a GitOps tool, but somebody scaled it by hand": {
			happens: func(w *world) { w.applied(true); w.scaled(3); w.scaled(2) },
			message: "its replicas were set by kubectl, perhaps less than 2 hours ago, and field manager " +
				"kustomize-controller, which applies the rest of it, may reset them from its manifest",
			left: 2,
		},
		"a GitOps tool, but somebody scaled it down by hand": {
			happens: func(w *world) { w.applied(true); w.scaled(0) },
			message: "its replicas were set by somebody, perhaps less than 2 hours ago, and field manager " +
				"kustomize-controller, which applies the rest of it, may reset them from its manifest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deployment("kubectl")
			tt.happens(w)
			w.restore("back", scalesWeb)
			b := w.settle("back")
			w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonReplicasManaged))
			w.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).To(ContainSubstring(tt.message))
			w.Expect(w.replicas()).To(Equal(tt.left))
			w.Expect(w.children()).To(BeEmpty())
		})
	}
	t.Run("one that is not there is waited for, for a while", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("back", scalesWeb)
		w.Reconcile("back")
		w.Expect(w.batch("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionPending))
		w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
		b := w.settle("back")
		w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonTargetNotFound))
	})
}

// A GitOps tool that applies no replicas has had the time to reset them, and Cairn itself can have scaled the workload.
func TestAWorkloadWhoseReplicasAreNotInGit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.applied(false)
	w.scaled(2)
	w.Clock.SetTime(w.Clock.Now().Add(scaling.ResetWindow + time.Minute))
	w.restore("back", scalesWeb)
	w.Expect(summary(w.settle("back"))).To(Equal(whole("second")))
	w.Expect(w.replicas()).To(Equal(int32(2)))
}

// Hooks can disturb the pods, and so the status of a workload that somebody scaled long ago: that is nothing new.
func TestAWorkloadWhoseStatusChangesMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.applied(false)
	w.scaled(3)
	w.scaled(2)
	now := w.Clock.Now()
	w.Clock.SetTime(now.Add(scaling.ResetWindow + time.Minute)) // The status was written long ago.
	w.restore("back", scalesWeb)
	for w.batch("back").Status.Resolved == nil {
		w.Reconcile("back")
	}
	w.Clock.SetTime(now) // The status was written just now.
	w.Expect(summary(w.settle("back"))).To(Equal(whole("second")))
}

// Scaling to 0 leaves no trace, but a RestoreBatch that left a workload without pods records it.
func TestAWorkloadThatAnotherRestoreLeftWithoutPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	fails := true
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if fails && kubelet.TaskOf(job).RestoreSession.Name == "back-uploads" {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return kubelet.Succeed(job)
	}
	w.restore("back", scalesWeb)
	w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	w.Expect(w.replicas()).To(BeZero())
	w.applied(false)
	fails = false
	w.restore("again", scalesWeb, func(b *v1alpha1.RestoreBatch) { b.Spec.ScaleDown[0].Replicas = new(int32(2)) })
	again := w.settle("again")
	w.Expect(again.Status.Targets).To(HaveEach(HaveField("RestoreSession", Not(BeEmpty()))), again.Status.Reason)
	w.Expect(again.Status.ScaledDown).To(HaveLen(1))
}

// The hooks before the restore can take long: the reconciler checks again who manages the replicas before it changes
// them, and restores nothing while somebody else does.
func TestAWorkloadThatSomethingElseScalesLater(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(*world){
		"an autoscaler": func(w *world) { w.autoscaler() },
		"a GitOps tool": func(w *world) { w.applied(true) },
	} {
		for when, down := range map[string]bool{"before it is scaled down": false, "while its pods end": true} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.deployment("kubectl")
				w.restore("back", scalesWeb)
				for w.batch("back").Status.Resolved == nil {
					w.Reconcile("back")
				}
				w.Expect(w.replicas()).To(Equal(int32(2)))
				if down {
					for w.replicas() > 0 {
						w.Reconcile("back")
					}
				}
				happens(w)
				b := w.settle("back")
				w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
				w.Expect(b.Status.Targets).To(HaveEach(HaveField("Reason", v1alpha1.ReasonReplicasManaged)))
				w.Expect(b.Status.Targets[0].Message).To(ContainSubstring("its replicas are managed by "))
				w.Expect(w.children()).To(BeEmpty())
				if name == "an autoscaler" || !down {
					w.Expect(w.replicas()).To(Equal(int32(2)), "the replicas are unchanged")
				}
			})
		}
	}
}
