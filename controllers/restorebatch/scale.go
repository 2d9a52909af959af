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
	// managed says who manages its replicas: see session.Workload. It is asked where they are about to be changed.
	managed string
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
	autoscalers := r.autoscalers(ctx, b.Namespace)
	for _, asked := range b.Spec.ScaleDown {
		if target, err := r.restoredInPods(ctx, b, start, asked); err != nil {
			return err
		} else if target != "" {
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
			refuse(v1alpha1.ReasonReplicasManaged, "%s", session.ReplicasManaged(asked.Kind, asked.Name, w.managed))
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
			Kind: asked.Kind, Name: asked.Name, UID: w.GetUID(), Before: w.replicas, Replicas: w.replicas, Generation: w.GetGeneration(), Phase: v1alpha1.ScalePending,
		}
		if asked.Replicas != nil {
			frozen.Replicas = *asked.Replicas
		}
		start.ScaledDown = append(start.ScaledDown, frozen)
	}
	return nil
}

func (r *Reconciler) notPermitted(namespace string, err error) string {
	return fmt.Sprintf("Cairn may not scale workloads here: %v. The owner of the namespace allows it with a RoleBinding (kubectl create rolebinding %s --namespace %s --clusterrole %s --serviceaccount %s)",
		err, v1alpha1.ScalerClusterRole, namespace, v1alpha1.ScalerClusterRole, r.Account)
}

// workloads looks at those that are scaled down, as they are and as a decision takes them.
func (r *Reconciler) workloads(ctx context.Context, b *v1alpha1.RestoreBatch) (map[string]*workload, map[string]session.Workload, error) {
	found, out := map[string]*workload{}, map[string]session.Workload{}
	autoscalers := r.autoscalers(ctx, b.Namespace)
	for i := range b.Status.ScaledDown {
		frozen := &b.Status.ScaledDown[i]
		w, err := r.read(ctx, b.Namespace, frozen.Kind, frozen.Name)
		if err != nil {
			return nil, nil, err
		}
		if w == nil {
			out[frozen.String()] = session.Workload{}
			continue
		}
		is := session.Workload{UID: w.GetUID(), Generation: w.GetGeneration(), Replicas: w.replicas, Settled: w.settled}
		if is.Pods, err = r.pods(ctx, w); err != nil {
			return nil, nil, err
		}
		if frozen.Phase == v1alpha1.ScalePending {
			err := findManager(frozen.Kind, w, autoscalers)
			// Who scaled it to 0 is Cairn; and what nobody changed since the restore began was looked at then.
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

// pods counts those of a workload that have not ended.
func (r *Reconciler) pods(ctx context.Context, w *workload) (int, error) {
	selector, err := metav1.LabelSelectorAsSelector(w.pods)
	if err != nil {
		return 0, fmt.Errorf("read the selector of %s: %w", w.GetName(), err)
	}
	var list corev1.PodList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(w.GetNamespace()), client.MatchingLabelsSelector{Selector: selector}); err != nil {
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

// scale gives workloads the replicas that were decided, where they are still as they were found: what was decided on is true of
// what is written. Why one can't have them is noted in the input, for another decision.
func (r *Reconciler) scale(ctx context.Context, b *v1alpha1.RestoreBatch, in *session.RestoreBatchInput, found map[string]*workload, replicas map[string]int32) (refused bool, err error) {
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
