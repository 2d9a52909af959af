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
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
	"github.com/cairn-backup/cairn/internal/scaling"
)

// workload is a Deployment or a StatefulSet.
type workload struct {
	client.Object
	scaling.Workload
	kind string
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
	return &workload{Object: object, Workload: scaling.WorkloadOf(object), kind: kind}, nil
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
	if err := r.SubResource("scale").Update(ctx, object, opts...); err != nil {
		return err
	}
	if options := (&client.SubResourceUpdateOptions{}).ApplyOptions(opts); len(options.DryRun) == 0 {
		logf.FromContext(ctx).Info("scaled", logs.Key(w.kind), klog.KObj(w), "from", w.Replicas, "to", replicas)
	}
	return nil
}

// resolveScaling resolves which workloads are scaled down, or why one can't be. It touches nothing.
func (r *Reconciler) resolveScaling(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start,
) error {
	if len(b.Spec.ScaleDown) == 0 {
		return nil
	}
	batches, err := r.batches(ctx, b.Namespace)
	if err != nil {
		return err
	}
	autoscalers := r.autoscalers(ctx, b.Namespace)
	for _, asked := range b.Spec.ScaleDown {
		target, err := r.restoredInPods(ctx, b, start, asked)
		if err != nil {
			return err
		}
		if target != "" {
			start.Error = restorebatch.RestoredInPods(asked, target)
			return nil
		}
		w, err := r.read(ctx, b.Namespace, asked.Kind, asked.Name)
		if err != nil {
			return err
		}
		if w == nil {
			start.Error, start.Wait = restorebatch.NoWorkload(asked), run.WaitForChild
			return nil
		}
		if other := scaling.HeldBy(batches, asked, w.UID, b); other != nil {
			start.Error, start.Wait = restorebatch.ScaledByAnother(asked, other.Name), run.WaitForChild
			return nil
		}
		if start.Error, err = r.whyNotScaled(ctx, b.Namespace, asked, w, autoscalers); start.Error != nil ||
			err != nil {
			if run.CanPass(start.Error) {
				start.Wait = run.WaitForRefused
			}
			return err
		}
		left := scaling.Inherited(batches, w.Workload, b)
		start.ScaledDown = append(start.ScaledDown, scaling.Freeze(asked, w.Workload, left))
	}
	return nil
}

// whyNotScaled explains why the replicas of a workload can't be changed. It returns nil if a dry run changes them.
func (r *Reconciler) whyNotScaled(
	ctx context.Context, namespace string, asked v1alpha1.ScaleDown, w *workload,
	autoscalers func() ([]autoscalingv2.HorizontalPodAutoscaler, error),
) (*v1alpha1.ResolvedError, error) {
	if w.DeletesClaims && w.Replicas > 0 {
		return restorebatch.DeletesClaims(asked.Kind, asked.Name), nil
	}
	err := findManager(asked.Kind, w, autoscalers)
	if err == nil {
		err = r.findTaken(ctx, w)
	}
	switch {
	case apierrors.IsForbidden(err):
		return restorebatch.NotPermitted(r.notPermitted(namespace, err)), nil
	case err != nil:
		return nil, err
	case w.managed != "":
		return restorebatch.ReplicasManaged(asked.Kind, asked.Name, w.managed), nil
	}
	switch err := r.scaleTo(ctx, w, w.Replicas, client.DryRunAll); {
	case movers.Unanswered(err):
		return movers.RefusalOf(movers.AsDenial(fmt.Errorf("scale %s %s: %w", asked.Kind, asked.Name, err))), nil
	case movers.Refused(err):
		return restorebatch.NotPermitted(r.notPermitted(namespace, err)), nil
	case err != nil:
		return nil, fmt.Errorf("dry-run scale of %s %s: %w", asked.Kind, asked.Name, err)
	}
	return nil, nil
}

// notPermitted says why the API server refuses to scale. A refusal that is not about rights, such as that of an
// admission policy, speaks for itself.
func (r *Reconciler) notPermitted(namespace string, err error) string {
	if !apierrors.IsForbidden(err) {
		return fmt.Sprintf("the API server refuses to scale the workload: %v", err)
	}
	return fmt.Sprintf(
		"Cairn is not allowed to scale workloads here: %v. The owner of the namespace can allow it with "+
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
		is := restorebatch.Workload{
			UID: w.UID, Generation: w.Generation, Replicas: w.Replicas, Settled: w.Settled,
			DeletesClaims: w.DeletesClaims, PodLabels: w.PodLabels,
		}
		pods, err := r.pods(ctx, w)
		if err != nil {
			return nil, nil, err
		}
		is.Pods, is.Ready = w.Running(pods), w.Ready(pods)
		if frozen.Phase == v1alpha1.ScalePending {
			err := findManager(frozen.Kind, w, autoscalers)
			if err == nil && scaling.MayBeTaken(frozen, w.Workload) {
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

// pods lists what the selector of a workload matches.
func (r *Reconciler) pods(ctx context.Context, w *workload) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := r.APIReader.List(ctx, &list, client.InNamespace(w.GetNamespace()),
		client.MatchingLabelsSelector{Selector: w.Selection.Selector}); err != nil {
		return nil, fmt.Errorf("list Pods of %s: %w", w.GetName(), err)
	}
	return list.Items, nil
}

// scale gives workloads the replicas of a decision, unless they have changed since they were read: a decision holds
// only for what it was made on. If a workload can't get them, scale adds the reason to refused.
func (r *Reconciler) scale(
	ctx context.Context, in observed, replicas map[string]int32, refused movers.Refusals,
) error {
	if len(replicas) == 0 {
		return nil
	}
	if err := oneshot.Newest(ctx, r.APIReader, in.Batch); err != nil {
		return err
	}
	for i := range in.Batch.Status.ScaledDown {
		frozen := &in.Batch.Status.ScaledDown[i]
		want, ok := replicas[frozen.String()]
		if !ok {
			continue
		}
		err := r.scaleTo(ctx, in.found[frozen.String()], want)
		switch {
		case movers.Unanswered(err):
			err = refused.Add(ctx, frozen.String(), movers.AsDenial(fmt.Errorf("scale it to %d: %w", want, err)))
		case movers.Refused(err):
			err = refused.Add(ctx, frozen.String(),
				movers.Refuse(v1alpha1.ReasonScalingNotPermitted, "%s", r.notPermitted(in.Batch.Namespace, err)))
		}
		if err != nil {
			return fmt.Errorf("scale %s to %d replicas: %w", strings.ToLower(frozen.Kind)+" "+frozen.Name, want, err)
		}
	}
	return nil
}
