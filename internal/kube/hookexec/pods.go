package hookexec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/workload"
)

// inPods carries an action out in the pods that the executor chooses. It finishes in all pods, even if it fails in
// some. It does nothing in a single pod that run does not have, but returns that pod: the pod must be known to later
// hooks before anything happens there.
func (e *Executor) inPods(
	ctx context.Context, namespace string, run hookstage.Run, rendered hook.Rendered,
) (*v1alpha1.HookPod, error) {
	config := rest.CopyConfig(e.Config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + v1alpha1.HookServiceAccount,
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client for ServiceAccount %s: %w", v1alpha1.HookServiceAccount, err)
	}
	all, none, err := e.pods(ctx, api, namespace, run, rendered)
	if err != nil {
		return nil, err
	}
	act := func(p *corev1.Pod) error {
		if rendered.Action.Exec != nil {
			return command(ctx, config, api, p, rendered.Action)
		}
		return e.connect(ctx, rendered.Action, run.Hook.Action, p)
	}
	if hookstage.InOnePod(run.Hook) {
		return inOne(all, run, rendered.Action, none, act)
	}
	pods := able(all, &run, rendered.Action)
	if len(pods) == 0 {
		return nil, none
	}
	return nil, inAll(ctx, api, pods, rendered.Action, act)
}

// pods returns the pods among which the executor chooses, ordered by name, and the failure if it may act in none.
func (e *Executor) pods(
	ctx context.Context, api kubernetes.Interface, namespace string, run hookstage.Run, rendered hook.Rendered,
) (all []corev1.Pod, none, err error) {
	executor := v1alpha1.HookPodExecutor{}
	if run.Hook.Executor.Pod != nil {
		executor = *run.Hook.Executor.Pod
	}
	selector, err := labels.ValidatedSelectorFromSet(rendered.Selector)
	if err != nil {
		return nil, nil, refused(v1alpha1.ReasonInvalidHook, "executor.pod.selector: %v", err)
	}
	// Pods that Cairn runs do not belong to the target.
	foreign := func(p *corev1.Pod) bool { return p.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByCairn }
	chosen := func(*corev1.Pod) bool { return true }
	which := fmt.Sprintf("the selector %q", selector)
	switch {
	case executor.Owner != nil:
		chosen = func(p *corev1.Pod) bool { return owned(p, executor.Owner) }
		which += fmt.Sprintf(" and the owner %s/%s", executor.Owner.Kind, executor.Owner.Name)
	case selector.Empty():
		if chosen, which, err = e.ofTarget(ctx, namespace, run.Targets); err != nil {
			return nil, nil, err
		}
	}
	list, err := api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if apierrors.IsForbidden(err) {
		return nil, nil, notPermitted(namespace)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list Pods: %w", err)
	}
	all = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !foreign(&p) || !chosen(&p) })
	slices.SortFunc(all, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return all, unreached(v1alpha1.ReasonNoRunningPod, "no pod runs for %s", which), nil
}

// one returns one of the running pods, or nil. It prefers the pod in which the hook or an earlier one acted: that one
// was frozen. If that pod is gone, one prefers the first pod that was ready when the run began, although freezing can
// have made it unready. If no such pod is left, one takes the first that is ready now, and after the work the first of
// all. It takes a transient pod only if no other pod exists: that pod can share a volume or labels with the
// application, and the application comes back.
func one(running, all []corev1.Pod, run *hookstage.Run) *corev1.Pod {
	for _, pod := range former(run) {
		for i := range running {
			if is(&running[i], pod) {
				return &running[i]
			}
		}
	}
	hasLasting := slices.ContainsFunc(all, func(p corev1.Pod) bool {
		return !observe.PodEnded(&p) && !workload.Transient(&p)
	})
	for _, fits := range []func(*corev1.Pod) bool{
		func(p *corev1.Pod) bool { return wasReady(p, run.Since) },
		isReady,
		func(*corev1.Pod) bool { return run.Stage == hookstage.Post },
	} {
		for i := range running {
			if p := &running[i]; fits(p) && !(hasLasting && workload.Transient(p)) {
				return p
			}
		}
	}
	return nil
}

// is reports whether a pod is the one that the status of a hook has.
func is(p *corev1.Pod, pod v1alpha1.HookPod) bool { return p.Name == pod.Name && p.UID == pod.UID }

// readiness returns the condition Ready of a pod. It is empty if the pod has none.
func readiness(p *corev1.Pod) corev1.PodCondition {
	i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	if i < 0 {
		return corev1.PodCondition{}
	}
	return p.Status.Conditions[i]
}

func isReady(p *corev1.Pod) bool { return readiness(p).Status == corev1.ConditionTrue }

// wasReady reports whether a pod was ready at a time, as far as the last change of its condition tells. Times of
// changes are cut to seconds.
func wasReady(p *corev1.Pod, at time.Time) bool {
	switch c := readiness(p); c.Status {
	case corev1.ConditionTrue:
		return !c.LastTransitionTime.After(at)
	case corev1.ConditionFalse:
		return p.CreationTimestamp.Time.Before(at) && !c.LastTransitionTime.Time.Before(at.Truncate(time.Second))
	default:
		return false
	}
}

// owned reports whether a pod has the wanted owner.
func owned(p *corev1.Pod, want *v1alpha1.HookPodOwner) bool {
	fits := func(want, have string) bool { return want == "" || want == have }
	return slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool {
		isController := o.Controller != nil && *o.Controller
		return fits(want.APIVersion, o.APIVersion) && fits(want.Kind, o.Kind) && fits(want.Name, o.Name) &&
			fits(want.UID, string(o.UID)) && (want.Controller == nil || *want.Controller == isController)
	})
}

// ofTarget returns a function that chooses the pods of the run's only target, and the name of that target.
func (e *Executor) ofTarget(
	ctx context.Context, namespace string, targets []v1alpha1.TypedObjectReference,
) (func(*corev1.Pod) bool, string, error) {
	if len(targets) != 1 {
		return nil, "", refused(v1alpha1.ReasonInvalidHook,
			"the run has %d targets: choose the pods with executor.pod.selector or executor.pod.owner", len(targets))
	}
	target := targets[0]
	var object client.Object
	switch target.Kind {
	case v1alpha1.KindPersistentVolumeClaim:
		return func(p *corev1.Pod) bool { return workload.Mounts(p, target.Name) }, target.String(), nil
	case v1alpha1.KindDeployment:
		object = &appsv1.Deployment{}
	case v1alpha1.KindStatefulSet:
		object = &appsv1.StatefulSet{}
	case v1alpha1.KindDaemonSet:
		object = &appsv1.DaemonSet{}
	default:
		return nil, "", refused(v1alpha1.ReasonInvalidHook,
			"%s has no pods: choose the pods with executor.pod.selector or executor.pod.owner", target)
	}
	err := e.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: target.Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, "", unreached(v1alpha1.ReasonTargetNotFound, "there is no %s", target)
	}
	if err != nil {
		return nil, "", fmt.Errorf("get %s: %w", target, err)
	}
	return workload.SelectionOf(object).Has, target.String(), nil
}

// notPermitted says which RoleBinding is missing.
func notPermitted(namespace string) error {
	return refused(v1alpha1.ReasonHookNotPermitted,
		"ServiceAccount %[1]s is not allowed to use the pods of namespace %[2]s: create a RoleBinding there from it "+
			"to ClusterRole %[3]s (kubectl create rolebinding %[1]s -n %[2]s --clusterrole=%[3]s "+
			"--serviceaccount=%[2]s:%[1]s)",
		v1alpha1.HookServiceAccount, namespace, v1alpha1.HookClusterRole)
}
