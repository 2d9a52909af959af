package hookexec

import (
	"context"
	"errors"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// maxPods is the number of pods in which one attempt acts at once.
const maxPods = 8

func terminates(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }

// former returns the pods in which the hook or an earlier one acted, in the order in which it prefers them.
func former(run *hookstage.Run) []v1alpha1.HookPod {
	if run.Pod == nil {
		return run.Former
	}
	return append([]v1alpha1.HookPod{*run.Pod}, run.Former...)
}

// mayAct reports whether a hook may act in a pod. A pod that terminates runs on for its grace period. If an earlier
// hook acted in it, it is frozen, and the hooks after the work still act in it. No other hook does.
func mayAct(p *corev1.Pod, run *hookstage.Run, action *v1alpha1.HookAction) bool {
	if p.Status.Phase != corev1.PodRunning || !terminates(p) {
		return p.Status.Phase == corev1.PodRunning
	}
	acted := run.InAll && !hookstage.InOnePod(run.Hook) ||
		slices.ContainsFunc(former(run), func(f v1alpha1.HookPod) bool { return is(p, f) })
	return run.Stage == hookstage.Post && acted && !over(p, action)
}

// over reports whether the container in which an action is carried out has ended. It is false if nobody knows: the only
// container of a pod can end before a sidecar whose port it is.
func over(p *corev1.Pod, action *v1alpha1.HookAction) bool {
	if action.ContainerName == "" && action.Exec == nil {
		return false
	}
	s := acting(p, action)
	return s != nil && s.State.Terminated != nil
}

// able returns the pods in which a hook may act.
func able(all []corev1.Pod, run *hookstage.Run, action *v1alpha1.HookAction) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(all), func(p corev1.Pod) bool { return !mayAct(&p, run, action) })
}

// inOne acts in one pod, or returns the one in which the hook must act. If that pod terminates and can no longer be
// reached, it takes another one that does not.
func inOne(
	all []corev1.Pod, run hookstage.Run, action *v1alpha1.HookAction, none error, act func(*corev1.Pod) error,
) (*v1alpha1.HookPod, error) {
	pods := able(all, &run, action)
	p := one(pods, all, &run)
	if p == nil {
		return nil, none
	}
	if choice := choiceOf(p, all, &run, action); !isNoted(&run, choice) {
		return choice, nil
	}
	err := act(p)
	if !terminates(p) || !unbegun(err) {
		return nil, err
	}
	stay := slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool { return terminates(&p) })
	if other := one(stay, all, &run); other != nil {
		return choiceOf(other, all, &run, action), nil
	}
	return nil, err
}

// inAll acts in all pods. It finishes in all of them, even if it fails in some.
func inAll(
	ctx context.Context, api kubernetes.Interface, pods []corev1.Pod, action *v1alpha1.HookAction,
	act func(*corev1.Pod) error,
) error {
	errs := make([]error, len(pods))
	var wait sync.WaitGroup
	places := make(chan struct{}, maxPods)
	for i := range pods {
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			errs[i] = act(&pods[i])
		})
	}
	wait.Wait()
	var count []error
	for i := range pods {
		lost := terminates(&pods[i]) && errs[i] != nil &&
			(unbegun(errs[i]) || ended(ctx, api, &pods[i], action))
		if !lost {
			count = append(count, errs[i])
		}
	}
	if len(count) == 0 {
		count = errs
	}
	err := worst(count)
	if slices.ContainsFunc(errs, func(err error) bool { return !unbegun(err) }) {
		return asBegun(err)
	}
	return err
}

// ended reports whether a pod that terminated, or the container of an action in it, has ended.
func ended(ctx context.Context, api kubernetes.Interface, p *corev1.Pod, action *v1alpha1.HookAction) bool {
	now, err := api.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return now.UID != p.UID || now.Status.Phase != corev1.PodRunning || over(now, action)
}

// asBegun returns a failure in some pods of an attempt that began in others.
func asBegun(err error) error {
	if !unbegun(err) {
		return err
	}
	out := failure{reason: v1alpha1.ReasonFailed, message: err.Error()}
	if f := (*failure)(nil); errors.As(err, &f) {
		out = *f
	}
	out.unbegun = false
	return &out
}

// worst returns the error that tells most about what happened in several pods: something can still go on in one of
// them, or else the first.
func worst(errs []error) error {
	for _, is := range []func(error) bool{cut, func(err error) bool { return err != nil }} {
		if i := slices.IndexFunc(errs, is); i >= 0 {
			return errs[i]
		}
	}
	return nil
}
