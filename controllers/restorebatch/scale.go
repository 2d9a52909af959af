package restorebatch

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/scaling"
	"github.com/cairn-backup/cairn/internal/session"
)

// workload is a Deployment or a StatefulSet.
type workload struct {
	client.Object
	replicas int32
	pods     *metav1.LabelSelector
	// settled says that the workload's controller has seen its newest form, and keeps as many pods as that wants, or fewer.
	settled bool
}

// read reads a workload past the cache; nil means that there is none.
func (r *Reconciler) read(ctx context.Context, namespace, kind, name string) (*workload, error) {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	var object client.Object = &appsv1.Deployment{ObjectMeta: meta}
	if kind == v1alpha1.KindStatefulSet {
		object = &appsv1.StatefulSet{ObjectMeta: meta}
	}
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(object), object); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind, name, err)
	}
	w := &workload{Object: object}
	var replicas *int32
	switch o := object.(type) {
	case *appsv1.Deployment:
		replicas, w.pods = o.Spec.Replicas, o.Spec.Selector
		w.settled = o.Status.ObservedGeneration >= o.Generation && o.Status.Replicas <= ptr.Deref(replicas, 1)
	case *appsv1.StatefulSet:
		replicas, w.pods = o.Spec.Replicas, o.Spec.Selector
		w.settled = o.Status.ObservedGeneration >= o.Generation && o.Status.Replicas <= ptr.Deref(replicas, 1)
	}
	w.replicas = ptr.Deref(replicas, 1)
	return w, nil
}

// scaleTo writes the replicas of a workload, if it is still as it was read.
func (r *Reconciler) scaleTo(ctx context.Context, w *workload, replicas int32, opts ...client.SubResourceUpdateOption) error {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.GetNamespace(), Name: w.GetName(), ResourceVersion: w.GetResourceVersion()},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	opts = append(opts, client.WithSubResourceBody(scale), client.FieldOwner(scaling.FieldManager))
	object, _ := w.DeepCopyObject().(client.Object)
	return r.SubResource("scale").Update(ctx, object, opts...)
}

// resolveScaling says which workloads are scaled down, or why one can't be: before anything is touched.
func (r *Reconciler) resolveScaling(ctx context.Context, b *v1alpha1.RestoreBatch, start *session.RestoreBatchStart) error {
	if len(b.Spec.ScaleDown) == 0 || start.Error != nil {
		return nil
	}
	// One that is made anew, and restores nothing again, disturbs nobody.
	if filled, err := r.stamped(ctx, b, start.Resolved.SpecDigest); filled || err != nil {
		return err
	}
	refuse := func(reason, format string, args ...any) {
		start.Error = &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	var autoscalers autoscalingv2.HorizontalPodAutoscalerList
	if err := r.APIReader.List(ctx, &autoscalers, client.InNamespace(b.Namespace)); apierrors.IsForbidden(err) {
		refuse(v1alpha1.ReasonScalingNotPermitted, "%s", r.notPermitted(b.Namespace, err))
		return nil
	} else if err != nil {
		return fmt.Errorf("list horizontal pod autoscalers: %w", err)
	}
	for _, asked := range b.Spec.ScaleDown {
		if target := restoredInPods(b, start, asked); target != "" {
			refuse(v1alpha1.ReasonSidecarNotPossible, "%s/%s is to be scaled down, but target %s is restored by the sidecar in its pods: take executor Job for it, or leave the workload out of scaleDown",
				asked.Kind, asked.Name, target)
			return nil
		}
		w, err := r.read(ctx, b.Namespace, asked.Kind, asked.Name)
		if err != nil {
			return err
		}
		if w == nil {
			refuse(v1alpha1.ReasonTargetNotFound, "there is no %s %s, which is to be scaled down", asked.Kind, asked.Name)
			start.Wait = session.WaitForChild
			return nil
		}
		if manager := scaling.Manager(asked.Kind, w, autoscalers.Items); manager != "" {
			refuse(v1alpha1.ReasonReplicasManaged, "%s/%s is not scaled down: its replicas are managed by %s, which may scale it up in the middle of the restore. Scale it down there, or suspend that, and leave it out of scaleDown",
				asked.Kind, asked.Name, manager)
			return nil
		}
		switch err := r.scaleTo(ctx, w, w.replicas, client.DryRunAll); {
		case apierrors.IsForbidden(err):
			refuse(v1alpha1.ReasonScalingNotPermitted, "%s", r.notPermitted(b.Namespace, err))
			return nil
		case err != nil:
			return fmt.Errorf("try to scale %s %s: %w", asked.Kind, asked.Name, err)
		}
		frozen := v1alpha1.ScaledWorkload{
			Kind: asked.Kind, Name: asked.Name, UID: w.GetUID(), Before: w.replicas, Replicas: w.replicas, Phase: v1alpha1.ScalePending,
		}
		if asked.Replicas != nil {
			frozen.Replicas = *asked.Replicas
		}
		start.ScaledDown = append(start.ScaledDown, frozen)
	}
	return nil
}

// restoredInPods is the target that the sidecar in the pods of a workload is to restore, "" where there is none.
func restoredInPods(b *v1alpha1.RestoreBatch, start *session.RestoreBatchStart, w v1alpha1.ScaleDown) string {
	for i := range start.Resolved.Targets {
		t := start.Resolved.Targets[i].Target
		if b.Spec.Targets[i].Executor == v1alpha1.ExecutorSidecar && t != nil && t.Kind == w.Kind && t.Name == w.Name {
			return b.Spec.Targets[i].Name
		}
	}
	return ""
}

func (r *Reconciler) notPermitted(namespace string, err error) string {
	return fmt.Sprintf("Cairn may not scale workloads here: %v. The owner of the namespace allows it with a RoleBinding (kubectl create rolebinding %s --namespace %s --clusterrole %s --serviceaccount %s)",
		err, v1alpha1.ScalerClusterRole, namespace, v1alpha1.ScalerClusterRole, r.Account)
}

// workloads looks at those that are scaled down.
func (r *Reconciler) workloads(ctx context.Context, b *v1alpha1.RestoreBatch) (map[string]session.Workload, error) {
	out := map[string]session.Workload{}
	for i := range b.Status.ScaledDown {
		frozen := &b.Status.ScaledDown[i]
		w, err := r.read(ctx, b.Namespace, frozen.Kind, frozen.Name)
		if err != nil {
			return nil, err
		}
		if w == nil {
			out[frozen.String()] = session.Workload{}
			continue
		}
		pods, err := r.pods(ctx, w)
		if err != nil {
			return nil, err
		}
		out[frozen.String()] = session.Workload{UID: w.GetUID(), Generation: w.GetGeneration(), Replicas: w.replicas, Pods: pods, Settled: w.settled}
	}
	return out, nil
}

// pods counts those of a workload that have not ended.
func (r *Reconciler) pods(ctx context.Context, w *workload) (int, error) {
	selector, err := metav1.LabelSelectorAsSelector(w.pods)
	if err != nil {
		return 0, fmt.Errorf("read the selector of %s: %w", w.GetName(), err)
	}
	var list corev1.PodList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(w.GetNamespace()), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return 0, fmt.Errorf("list the pods of %s: %w", w.GetName(), err)
	}
	n := 0
	for i := range list.Items {
		if p := list.Items[i].Status.Phase; p != corev1.PodSucceeded && p != corev1.PodFailed {
			n++
		}
	}
	return n, nil
}

// scale gives workloads the replicas that were decided. Why one can't have them is noted in the input, for another decision.
func (r *Reconciler) scale(ctx context.Context, b *v1alpha1.RestoreBatch, in *session.RestoreBatchInput, replicas map[string]int32) (refused bool, err error) {
	if len(replicas) == 0 {
		return false, nil
	}
	if err := r.keeper().Newest(ctx, b); err != nil {
		return false, err
	}
	for i := range b.Status.ScaledDown {
		frozen := &b.Status.ScaledDown[i]
		want, ok := replicas[frozen.String()]
		if !ok {
			continue
		}
		w, err := r.read(ctx, b.Namespace, frozen.Kind, frozen.Name)
		if err != nil {
			return false, err
		}
		known := in.Workloads[frozen.String()]
		if w == nil || w.GetUID() != known.UID || w.replicas != known.Replicas {
			return false, fmt.Errorf("scale %s: it has changed: look again", frozen)
		}
		switch err := r.scaleTo(ctx, w, want); {
		case apierrors.IsForbidden(err):
			known.Refused, refused = r.notPermitted(b.Namespace, err), true
			in.Workloads[frozen.String()] = known
		case err != nil:
			return false, fmt.Errorf("scale %s to %d replicas: %w", strings.ToLower(frozen.Kind)+" "+frozen.Name, want, err)
		}
	}
	return refused, nil
}
