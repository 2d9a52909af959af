package restorebatch

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
	"github.com/cairn-backup/cairn/internal/scaling"
)

// workload is a Deployment or a StatefulSet.
type workload struct {
	client.Object
	replicas int32
	pods     *metav1.LabelSelector
	// settled reports that the workload's controller has seen the newest spec, and that no more pods exist than the
	// spec wants.
	settled bool
	// managed names who manages the replicas: see restorebatch.Workload. It is set before the replicas are changed.
	managed string
}

// read reads a workload past the cache. It returns nil if the workload does not exist.
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

// scaleTo writes the replicas of a workload, unless the workload has changed since it was read.
func (r *Reconciler) scaleTo(
	ctx context.Context, w *workload, replicas int32, opts ...client.SubResourceUpdateOption,
) error {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.GetNamespace(), Name: w.GetName(),
			ResourceVersion: w.GetResourceVersion(),
		},
		Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	opts = append(opts, client.WithSubResourceBody(scale), client.FieldOwner(scaling.FieldManager))
	object, _ := w.DeepCopyObject().(client.Object)
	return r.SubResource("scale").Update(ctx, object, opts...)
}

// resolveScaling resolves which workloads are scaled down, or why one can't be. It touches nothing.
func (r *Reconciler) resolveScaling(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start,
) error {
	if len(b.Spec.ScaleDown) == 0 || start.Error != nil {
		return nil
	}
	// A RestoreBatch that was recreated, and restores nothing again, scales nothing.
	if filled, err := r.stamped(ctx, b, start.Resolved.SpecDigest); filled || err != nil {
		return err
	}
	refuse := func(reason, format string, args ...any) {
		start.Error = &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	autoscalers := r.autoscalers(ctx, b.Namespace)
	for _, asked := range b.Spec.ScaleDown {
		if target, err := r.restoredInPods(ctx, b, start, asked); err != nil {
			return err
		} else if target != "" {
			refuse(v1alpha1.ReasonSidecarNotPossible,
				"%s/%s is to be scaled down, but the sidecar in its pods restores target %s: set executor Job for the target, or "+
					"leave the workload out of scaleDown",
				asked.Kind, asked.Name, target)
			return nil
		}
		w, err := r.read(ctx, b.Namespace, asked.Kind, asked.Name)
		if err != nil {
			return err
		}
		if w == nil {
			refuse(v1alpha1.ReasonTargetNotFound, "there is no %s %s, which spec.scaleDown names", asked.Kind, asked.Name)
			start.Wait = run.WaitForChild
			return nil
		}
		err = findManager(asked.Kind, w, autoscalers)
		if err == nil {
			err = r.findTaken(ctx, w)
		}
		switch {
		case apierrors.IsForbidden(err):
			refuse(v1alpha1.ReasonScalingNotPermitted, "%s", r.notPermitted(b.Namespace, err))
			return nil
		case err != nil:
			return err
		case w.managed != "":
			refuse(v1alpha1.ReasonReplicasManaged, "%s", restorebatch.ReplicasManaged(asked.Kind, asked.Name, w.managed))
			return nil
		}
		switch err := r.scaleTo(ctx, w, w.replicas, client.DryRunAll); {
		case apierrors.IsForbidden(err):
			refuse(v1alpha1.ReasonScalingNotPermitted, "%s", r.notPermitted(b.Namespace, err))
			return nil
		case err != nil:
			return fmt.Errorf("dry-run scale of %s %s: %w", asked.Kind, asked.Name, err)
		}
		frozen := v1alpha1.ScaledWorkload{
			Kind: asked.Kind, Name: asked.Name, UID: w.GetUID(), Before: w.replicas, Replicas: w.replicas,
			Generation: w.GetGeneration(), Phase: v1alpha1.ScalePending,
		}
		if asked.Replicas != nil {
			frozen.Replicas = *asked.Replicas
		}
		start.ScaledDown = append(start.ScaledDown, frozen)
	}
	return nil
}

func (r *Reconciler) notPermitted(namespace string, err error) string {
	return fmt.Sprintf("Cairn is not allowed to scale workloads here: %v. The owner of the namespace can allow it with "+
		"a RoleBinding (kubectl create rolebinding %s --namespace %s --clusterrole %s --serviceaccount %s)",
		err, v1alpha1.ScalerClusterRole, namespace, v1alpha1.ScalerClusterRole, r.Account)
}

// workloads reads the workloads that are scaled down, and returns them as they are and as a decision needs them.
func (r *Reconciler) workloads(
	ctx context.Context, b *v1alpha1.RestoreBatch,
) (map[string]*workload, map[string]restorebatch.Workload, error) {
	found, out := map[string]*workload{}, map[string]restorebatch.Workload{}
	autoscalers := r.autoscalers(ctx, b.Namespace)
	for i := range b.Status.ScaledDown {
		frozen := &b.Status.ScaledDown[i]
		w, err := r.read(ctx, b.Namespace, frozen.Kind, frozen.Name)
		if err != nil {
			return nil, nil, err
		}
		if w == nil {
			out[frozen.String()] = restorebatch.Workload{}
			continue
		}
		is := restorebatch.Workload{UID: w.GetUID(), Generation: w.GetGeneration(), Replicas: w.replicas, Settled: w.settled}
		if is.Pods, err = r.pods(ctx, w); err != nil {
			return nil, nil, err
		}
		if frozen.Phase == v1alpha1.ScalePending {
			err := findManager(frozen.Kind, w, autoscalers)
			// If the replicas are 0, Cairn set them. If nobody changed the workload since the restore began, the start
			// has checked it.
			if err == nil && w.replicas != 0 && w.GetGeneration() != frozen.Generation {
				err = r.findTaken(ctx, w)
			}
			if apierrors.IsForbidden(err) {
				is.Refused = r.notPermitted(b.Namespace, err)
			} else if err != nil {
				return nil, nil, err
			}
			is.Managed = w.managed
		}
		found[frozen.String()], out[frozen.String()] = w, is
	}
	return found, out, nil
}

// pods counts the pods of a workload that have not ended.
func (r *Reconciler) pods(ctx context.Context, w *workload) (int, error) {
	selector, err := metav1.LabelSelectorAsSelector(w.pods)
	if err != nil {
		return 0, fmt.Errorf("parse selector of %s: %w", w.GetName(), err)
	}
	var list corev1.PodList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(w.GetNamespace()),
		client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return 0, fmt.Errorf("list Pods of %s: %w", w.GetName(), err)
	}
	n := 0
	for i := range list.Items {
		if p := list.Items[i].Status.Phase; p != corev1.PodSucceeded && p != corev1.PodFailed {
			n++
		}
	}
	return n, nil
}

// scale gives workloads the replicas of a decision, unless they have changed since they were read: a decision holds
// only for what it was made on. If a workload can't get them, scale adds the reason to in, for another decision.
func (r *Reconciler) scale(
	ctx context.Context, b *v1alpha1.RestoreBatch, in *restorebatch.Input, found map[string]*workload,
	replicas map[string]int32,
) (refused bool, err error) {
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
		switch err := r.scaleTo(ctx, found[frozen.String()], want); {
		case apierrors.IsForbidden(err):
			known := in.Workloads[frozen.String()]
			known.Refused, refused = r.notPermitted(b.Namespace, err), true
			in.Workloads[frozen.String()] = known
		case err != nil:
			return false, fmt.Errorf("scale %s to %d replicas: %w", strings.ToLower(frozen.Kind)+" "+frozen.Name, want, err)
		}
	}
	return refused, nil
}
