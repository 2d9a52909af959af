package hookexec_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// allow creates what the message of ReasonHookNotPermitted asks for, with the rules of the shipped ClusterRole.
func allow(t *testing.T, namespace string) {
	t.Helper()
	g := NewWithT(t)
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.HookClusterRole},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
			{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"get", "create"}},
		},
	}
	_ = bed.Client.Create(t.Context(), role)
	g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.HookServiceAccount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: v1alpha1.HookClusterRole},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: v1alpha1.HookServiceAccount}},
	})).To(Succeed())
}

func inPods(pod *v1alpha1.HookPodExecutor) func(*v1alpha1.ResolvedHook) {
	return func(h *v1alpha1.ResolvedHook) {
		h.Executor = v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorPod, Pod: pod}
	}
}

// act makes an attempt, in the pod that it chooses.
func act(t *testing.T, namespace string, run hookstage.Run) hookstage.Outcome {
	t.Helper()
	out := executor().Execute(t.Context(), namespace, run)
	if out.Pod != nil {
		run.Pod = out.Pod
		out = executor().Execute(t.Context(), namespace, run)
	}
	return out
}

func TestWithoutARoleBindingNothingReachesAPod(t *testing.T) {
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	makePod(t, namespace, "db-0", true)
	command := v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{Command: []string{"sync"}}}
	run := operator(command, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"}))
	out := executor().Execute(t.Context(), namespace, run)
	g.Expect(out).To(Equal(hookstage.Outcome{
		Reason: v1alpha1.ReasonHookNotPermitted, Final: true,
		Message: fmt.Sprintf(
			"ServiceAccount cairn-hook is not allowed to use the pods of namespace %[1]s: create a RoleBinding there "+
				"from it to ClusterRole cairn-hook-exec (kubectl create rolebinding cairn-hook -n %[1]s "+
				"--clusterrole=cairn-hook-exec --serviceaccount=%[1]s:cairn-hook)", namespace),
	}))
	allow(t, namespace)
	// The pod has no kubelet, so the command can't run. But the missing right is no longer the reason.
	g.Eventually(func() string { return act(t, namespace, run).Reason }).
		WithTimeout(testbed.Patience).
		Should(Equal(v1alpha1.ReasonCommandFailed), "the RoleBinding must take effect")
}

func TestPodsAreChosen(t *testing.T) {
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	s := serve(t, status(200))
	port := func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = s.port.IntVal }
	owner := func(kind, name string, controller bool) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: kind, Name: name, UID: "u", Controller: &controller},
			}
		}
	}
	claim := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{
			{
				Name: "data",
				VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
				},
			},
		}
	}
	makePod(t, namespace, "a-starting", false, port, owner("StatefulSet", "db", true))
	makePod(t, namespace, "b-ready", true, port, owner("StatefulSet", "db", true), claim)
	makePod(t, namespace, "c-ready", true, port, owner("ReplicaSet", "db", false))
	makePod(t, namespace, "d-mover", true, port, claim, func(p *corev1.Pod) {
		p.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	})
	pvc := []v1alpha1.TypedObjectReference{{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"}}
	for name, tt := range map[string]struct {
		pod     *v1alpha1.HookPodExecutor
		targets []v1alpha1.TypedObjectReference
		asked   int
		reason  string
		says    string
	}{
		"one": {pod: &v1alpha1.HookPodExecutor{Selector: "app=db"}, asked: 1},
		"all, including a starting pod": {
			pod: &v1alpha1.HookPodExecutor{Selector: "app = db", Strategy: v1alpha1.ExecuteOnAll}, asked: 3,
		},
		"by the owner": {
			pod: &v1alpha1.HookPodExecutor{
				Owner: &v1alpha1.HookPodOwner{Kind: "StatefulSet", Name: "db"}, Strategy: v1alpha1.ExecuteOnAll,
			},
			asked: 2,
		},
		"by an owner that controls": {
			pod: &v1alpha1.HookPodExecutor{
				Owner: &v1alpha1.HookPodOwner{Controller: new(false)}, Strategy: v1alpha1.ExecuteOnAll,
			},
			asked: 1,
		},
		"by selector and owner": {
			pod:    &v1alpha1.HookPodExecutor{Selector: "app=web", Owner: &v1alpha1.HookPodOwner{Name: "db"}},
			reason: v1alpha1.ReasonNoRunningPod, says: "no pod runs for",
		},
		"pods of the target, not the mover": {
			targets: pvc, pod: &v1alpha1.HookPodExecutor{Strategy: v1alpha1.ExecuteOnAll}, asked: 1,
		},
		"none": {
			pod: &v1alpha1.HookPodExecutor{Selector: "app=none"}, reason: v1alpha1.ReasonNoRunningPod,
			says: `no pod runs for the selector "app=none"`,
		},
		"several targets, none of them named": {
			targets: append(pvc, pvc...), reason: v1alpha1.ReasonInvalidHook,
			says: "the run has 2 targets: choose the pods with executor.pod.selector",
		},
		"a target that does not exist": {
			targets: []v1alpha1.TypedObjectReference{{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "none"}},
			reason:  v1alpha1.ReasonTargetNotFound, says: "there is no Deployment/none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s.asked = nil
			// The action names no host, so the request goes to the address of the pod.
			action := v1alpha1.HookAction{
				ContainerName: "db", HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromString("admin")},
			}
			run := operator(action, inPods(tt.pod))
			run.Targets = tt.targets
			var out hookstage.Outcome
			g.Eventually(func() string {
				out = act(t, namespace, run)
				return out.Reason
			}).WithTimeout(testbed.Patience).Should(Equal(tt.reason), "the RoleBinding must take effect")
			g.Expect(s.asked).To(HaveLen(tt.asked))
			g.Expect(out.Message).To(ContainSubstring(tt.says))
		})
	}
}

// A frozen application can stop being ready. A hook that thaws it, or freezes it again because a manager was killed,
// must use the same pod.
func TestOnePodIsMeantByAllHooksOfARun(t *testing.T) {
	since := time.Now().Add(time.Minute).Truncate(time.Second) // after the pods were made
	ready := func(status corev1.ConditionStatus, at time.Duration) corev1.PodCondition {
		return corev1.PodCondition{
			Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(since.Add(at)),
		}
	}
	starting, frozen := ready(corev1.ConditionFalse, -time.Second), ready(corev1.ConditionFalse, 5*time.Second)
	was, became := ready(corev1.ConditionTrue, -time.Second), ready(corev1.ConditionTrue, 5*time.Second)
	for name, tt := range map[string]struct {
		pods      map[string]corev1.PodCondition
		pre, post string // the pod that is used; empty: none
	}{
		"ready": {
			map[string]corev1.PodCondition{"a": starting, "b": was, "c": was}, "b", "b",
		},
		"frozen": {
			map[string]corev1.PodCondition{"a": starting, "b": frozen, "c": was}, "b", "b",
		},
		"frozen, another has become ready":  {map[string]corev1.PodCondition{"a": became, "b": frozen}, "b", "b"},
		"the only one is frozen":            {map[string]corev1.PodCondition{"a": frozen}, "a", "a"},
		"none was ready, one has become so": {map[string]corev1.PodCondition{"a": starting, "b": became}, "b", "b"},
		"none was ready":                    {map[string]corev1.PodCondition{"a": starting}, "", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := bed.Namespace(t, nil)
			allow(t, namespace)
			servers := map[string]*server{}
			for pod, condition := range tt.pods {
				s := serve(t, status(200))
				servers[pod] = s
				makePod(t, namespace, pod, false, func(p *corev1.Pod) {
					p.Spec.Containers[0].Ports[0].ContainerPort = s.port.IntVal
				})
				isNow(t, namespace, pod, condition)
			}
			for stage, want := range map[hookstage.Stage]string{
				hookstage.Pre:  tt.pre,
				hookstage.Post: tt.post,
			} {
				NewWithT(t).Expect(podAsked(t, namespace, stage, since, servers)).To(Equal(want), string(stage))
			}
		})
	}
}

// isNow gives a pod a condition.
func isNow(t *testing.T, namespace, pod string, condition corev1.PodCondition) {
	t.Helper()
	g := NewWithT(t)
	var p corev1.Pod
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: pod}, &p)).To(Succeed())
	p.Status.Conditions = []corev1.PodCondition{condition}
	g.Expect(bed.Client.Status().Update(t.Context(), &p)).To(Succeed())
}

// podAsked carries out a hook and returns the name of the pod whose server got the request.
func podAsked(
	t *testing.T, namespace string, stage hookstage.Stage, since time.Time, servers map[string]*server,
	edit ...func(*hookstage.Run),
) string {
	t.Helper()
	for _, s := range servers {
		s.asked = nil
	}
	action := v1alpha1.HookAction{
		ContainerName: "db", HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromString("admin")},
	}
	run := operator(action, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"}))
	run.Stage, run.Since = stage, since
	run.Hook.Template = v1alpha1.ObjectReference{Namespace: namespace, Name: "deleted"}
	for _, e := range edit {
		e(&run)
	}
	NewWithT(t).Eventually(func() string { return act(t, namespace, run).Reason }).
		WithTimeout(testbed.Patience).
		Should(BeElementOf("", v1alpha1.ReasonNoRunningPod), "the RoleBinding must take effect")
	met := ""
	for pod, s := range servers {
		if len(s.asked) > 0 {
			met += pod
		}
	}
	return met
}

func TestAPortWithoutAContainerThatHasItIsAMistake(t *testing.T) {
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	allow(t, namespace)
	makePod(t, namespace, "db-0", true)
	action := v1alpha1.HookAction{
		ContainerName: "db", TCPSocket: &v1alpha1.HookTCPSocketAction{Port: intstr.FromString("metrics")},
	}
	var out hookstage.Outcome
	g.Eventually(func() string {
		out = act(t, namespace, operator(action, inPods(&v1alpha1.HookPodExecutor{Selector: "app=db"})))
		return out.Reason
	}).WithTimeout(testbed.Patience).Should(Equal(v1alpha1.ReasonInvalidHook), "the RoleBinding must take effect")
	g.Expect(out.Message).To(Equal(`pod db-0 has no port "metrics" in container "db"`))
}

// A usagePolicy is checked again for a hook before the work, but not for one after it.
func TestAUsagePolicyIsAskedAgainBeforeTheWork(t *testing.T) {
	g := NewWithT(t)
	home, user := bed.Namespace(t, nil), bed.Namespace(t, nil)
	template := &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "t"},
		Spec: v1alpha1.HookTemplateSpec{
			Action: &v1alpha1.HookAction{
				TCPSocket: &v1alpha1.HookTCPSocketAction{Host: "x", Port: intstr.FromInt32(1)},
			},
			Executor: &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), template)).To(Succeed())
	s := serve(t, status(200))
	get := s.get("/")
	run := operator(v1alpha1.HookAction{HTTPGet: &get}, func(h *v1alpha1.ResolvedHook) {
		h.Template = v1alpha1.ObjectReference{Namespace: home, Name: "t"}
	})
	g.Expect(executor().Execute(t.Context(), user, run)).To(Equal(hookstage.Outcome{}))
	run.Stage = hookstage.Pre
	out := executor().Execute(t.Context(), user, run)
	g.Expect(out).To(Equal(hookstage.Outcome{
		Reason: v1alpha1.ReasonHookTemplateNotAllowed, Final: true,
		Message: fmt.Sprintf("the usagePolicy of HookTemplate %s/t does not allow the namespace %s", home, user),
	}))
	g.Expect(bed.Client.Delete(t.Context(), template)).To(Succeed())
	g.Expect(executor().Execute(t.Context(), user, run)).To(
		Equal(hookstage.Outcome{}), "it was frozen while it could be used")
}
