package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// letHooksIn lets hooks act in the pods of the namespace, as its owner does.
func (w *world) letHooksIn() {
	w.T.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.HookClusterRole},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		},
	}
	if err := w.Client.Create(w.T.Context(), role); !apierrors.IsAlreadyExists(err) {
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(w.Client.Create(w.T.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: v1alpha1.HookServiceAccount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: v1alpha1.HookClusterRole},
		Subjects: []rbacv1.Subject{{
			Kind: "ServiceAccount", Namespace: w.Namespace, Name: v1alpha1.HookServiceAccount,
		}},
	})).To(Succeed())
	w.Eventually(func() bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + w.Namespace + ":" + v1alpha1.HookServiceAccount,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: w.Namespace, Verb: "list", Resource: "pods",
			},
		}}
		w.Expect(w.Client.Create(w.T.Context(), review)).To(Succeed())
		return review.Status.Allowed
	}).WithTimeout(testbed.Patience).Should(BeTrue(), "the RoleBinding must take effect")
}

// inWeb returns a hook that makes a request to a pod of the Deployment with these labels. l hears its name.
func (w *world) inWeb(l *sessiontest.Listener, name, selector string) v1alpha1.HookInfo {
	w.T.Helper()
	port := l.Template("", "", "").Spec.Action.HTTPPost.Port.IntVal
	sessiontest.Create(w.T, w.Client, &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.HookTemplateSpec{
			Action: &v1alpha1.HookAction{HTTPGet: &v1alpha1.HookHTTPGetAction{
				Port: intstr.FromInt32(port), Path: "/" + name,
			}},
			Executor: &v1alpha1.HookExecutor{
				Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: selector},
			},
		},
	})
	return sessiontest.UseTemplate(name)
}

// runs makes a pod run, ready or not, as the kubelet does.
func (w *world) runs(p *corev1.Pod, ready corev1.ConditionStatus) {
	w.T.Helper()
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "127.0.0.1"
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	w.Expect(w.Client.Status().Update(w.T.Context(), p)).To(Succeed())
}

// next makes the pod that the Deployment has after it was scaled up. It has a label that the template lacks.
func (w *world) next() *corev1.Pod {
	w.T.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: "web-2", Labels: map[string]string{"app": "web", "role": "master"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
	}
	w.Expect(w.Client.Create(w.T.Context(), p)).To(Succeed())
	return p
}

// reindexes creates a restore that scales the Deployment down and up, and rebuilds an index in a pod of it with these
// labels after that. With frozen, a hook acts in a pod of it before, too.
func (w *world) reindexes(l *sessiontest.Listener, selector string, frozen bool) {
	w.T.Helper()
	hooks := &v1alpha1.RestoreHooks{PostRestore: []v1alpha1.HookInfo{w.inWeb(l, "reindex", selector)}}
	if frozen {
		hooks.PreRestore = []v1alpha1.HookInfo{w.inWeb(l, "freeze", "app=web")}
	}
	w.restore("back", scalesWeb, func(b *v1alpha1.RestoreBatch) { b.Spec.Hooks = hooks })
}

// waiting reports whether the postRestore hook waits for pods.
func waiting(b *v1alpha1.RestoreBatch) bool {
	h := b.Status.Hooks
	return h != nil && len(h.PostHooks) == 1 && h.PostHooks[0].Reason == v1alpha1.ReasonNoRunningPod &&
		h.PostHooks[0].Phase == v1alpha1.HookRunning
}

// becomes reconciles and lets the cluster work until the restore is as wanted.
func (w *world) becomes(want func(*v1alpha1.RestoreBatch) bool) *v1alpha1.RestoreBatch {
	w.T.Helper()
	b := &v1alpha1.RestoreBatch{}
	w.Eventually(func() bool {
		w.Reconcile("back")
		w.Cluster()
		w.Get("back", b)
		return want(b)
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(BeTrue(), "%+v", b.Status)
	return b
}

// All data is restored, but a pod needs its time: the restore must not fail for that.
func TestAPostRestoreHookWaitsForThePodsThatAreScaledUp(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		selector string
		frozen   bool
	}{
		"the only hook":                {selector: "app=web"},
		"another one acted before":     {selector: "app=web", frozen: true},
		"only the pods have its label": {selector: "app=web,role=master"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.letHooksIn()
			l := sessiontest.Listen(t)
			pod := w.deployment("kubectl-client-side-apply")
			w.runs(pod, corev1.ConditionTrue)
			w.reindexes(l, tt.selector, tt.frozen)
			w.becomes(func(*v1alpha1.RestoreBatch) bool { return w.replicas() == 0 })
			w.gone(pod)
			heard := l.Heard()

			b := w.becomes(func(b *v1alpha1.RestoreBatch) bool { return b.Status.Phase.Terminal() || waiting(b) })
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning), "%v", summary(b))
			w.Expect(w.replicas()).To(Equal(int32(2)))
			w.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).
				To(Equal("waiting: hook reindex could not begin: the pods of Deployment/web are not ready"))

			pod = w.next()
			w.runs(pod, corev1.ConditionFalse)
			w.Clock.SetTime(w.Clock.Now().Add(time.Minute))
			w.Killer = &sessiontest.Killer{} // A new manager waits as long as the old one would have.
			for range 3 {
				w.Reconcile("back")
			}
			w.Expect(waiting(w.batch("back"))).To(BeTrue())
			w.Expect(l.Heard()).To(Equal(heard), "nothing acts in a pod that is not ready")

			w.runs(pod, corev1.ConditionTrue)
			b = w.drive()
			w.Expect(summary(b)).To(Equal(whole("second")))
			w.Expect(l.Heard()).To(Equal(append(heard, "reindex")))
			w.Expect(b.Status.Hooks.PostHooks).
				To(HaveExactElements(And(HaveField("Attempts", int32(1)), HaveField("Pod.Name", "web-2"))))
		})
	}
}

// Its pods can need the hook to get ready. Where none comes, the restore fails when the time of the hook is over.
func TestAPostRestoreHookDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	for name, comes := range map[string]bool{"a pod that does not get ready": true, "no pod": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.letHooksIn()
			l := sessiontest.Listen(t)
			w.gone(w.deployment("kubectl"))
			w.reindexes(l, "app=web", false)
			w.becomes(waiting)
			if comes {
				w.runs(w.next(), corev1.ConditionFalse)
			}
			w.Clock.SetTime(w.Clock.Now().Add(6 * time.Minute))
			if comes {
				w.Expect(summary(w.drive())).To(Equal(whole("second")))
				w.Expect(l.Heard()).To(Equal([]string{"reindex"}))
				return
			}
			none := `no pod runs for the selector "app=web"`
			w.becomes(func(b *v1alpha1.RestoreBatch) bool {
				return waiting(b) && b.Status.Hooks.PostHooks[0].Message == "waiting: "+none
			})
			w.Clock.SetTime(w.Clock.Now().Add(6 * time.Minute))
			b := w.drive()
			w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePostRestoreHooks))
			w.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).
				To(ContainSubstring("hook reindex: " + none))
		})
	}
}

// Pods of a workload that had no replicas before never come.
func TestAPostRestoreHookDoesNotWaitForAWorkloadWithoutReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.letHooksIn()
	w.gone(w.deployment("kubectl"))
	var d appsv1.Deployment
	w.Get("web", &d)
	before := d.DeepCopy()
	d.Spec.Replicas = new(int32(0))
	w.Expect(w.Client.Patch(t.Context(), &d, client.MergeFrom(before), client.FieldOwner("kubectl"))).To(Succeed())
	w.reindexes(sessiontest.Listen(t), "app=web", false)
	b := w.drive() // no time passes
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePostRestoreHooks))
	w.Expect(b.Status.ScaledDown[0].Message).To(Equal("it had no replicas before"))
}

// Whatever the manager knew about the pods is gone with it. It is killed at each write since the end of the targets.
func TestAPostRestoreHookActsInPodsThatAreScaledUpWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	restored := func(t *testing.T, killer *sessiontest.Killer) (before int) {
		w := newWorld(t)
		w.letHooksIn()
		l := sessiontest.Listen(t)
		w.gone(w.deployment("kubectl"))
		w.Killer = killer
		w.reindexes(l, "app=web", false)
		w.becomes(func(b *v1alpha1.RestoreBatch) bool {
			return b.Status.ScaledDown != nil && b.Status.ScaledDown[0].Phase == v1alpha1.ScalingUp
		})
		before = killer.Count()
		w.becomes(waiting)
		w.runs(w.next(), corev1.ConditionTrue)
		w.Expect(summary(w.drive())).To(Equal(whole("second")))
		w.Expect(l.Heard()).NotTo(BeEmpty())
		w.Expect(l.Heard()).To(HaveEach("reindex"))
		w.Expect(w.replicas()).To(Equal(int32(2)))
		return before
	}
	undisturbed := &sessiontest.Killer{}
	before := restored(t, undisturbed)
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		if killer.At < before {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restored(t, killer)
			NewWithT(t).Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
		})
	}
}
