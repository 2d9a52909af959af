package movers

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/workload"
)

// FindSidecarPods finds the pods of a workload and what is known about its sidecar. It reads pods with live, past the
// cache, which holds none of them. A workload that does not exist has none.
func FindSidecarPods(
	ctx context.Context, c, live client.Reader, namespace string, app v1alpha1.TypedObjectReference,
) (*run.SidecarPods, error) {
	crew := &run.SidecarPods{App: app, ID: sidecar.Name(app.Kind, app.Name)}
	var secret corev1.Secret
	err := live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: crew.ID}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		crew.Trouble = fmt.Sprintf("%s has no sidecar yet", app)
	case err != nil:
		return nil, fmt.Errorf("get Secret %s/%s: %w", namespace, crew.ID, err)
	case len(secret.Data[sidecar.KeyToken]) == 0:
		crew.Trouble = fmt.Sprintf("the sidecar of %s has no token yet", app)
	default:
		crew.Credentials = secret.Annotations[v1alpha1.AnnotationSidecarCredentials]
	}
	object, err := workloadOf(ctx, live, namespace, app)
	if err != nil || object == nil {
		return crew, err
	}
	selection := workload.SelectionOf(object)
	var pods corev1.PodList
	err = live.List(ctx, &pods, client.InNamespace(namespace),
		client.MatchingLabelsSelector{Selector: selection.Selector})
	if err != nil {
		return nil, fmt.Errorf("list Pods of %s: %w", app, err)
	}
	crew.Pods = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return !selection.Has(&p) })
	crew.Busy, err = busyPods(ctx, c, namespace, crew.ID)
	return crew, err
}

// workloadOf returns a workload, or nil if it does not exist.
func workloadOf(
	ctx context.Context, live client.Reader, namespace string, app v1alpha1.TypedObjectReference,
) (client.Object, error) {
	var o client.Object
	switch app.Kind {
	case v1alpha1.KindDeployment:
		o = &appsv1.Deployment{}
	case v1alpha1.KindStatefulSet:
		o = &appsv1.StatefulSet{}
	case v1alpha1.KindDaemonSet:
		o = &appsv1.DaemonSet{}
	default:
		return nil, nil
	}
	err := read.Get(ctx, live, client.ObjectKey{Namespace: namespace, Name: app.Name}, o)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", app, err)
	}
	return o, nil
}

// busyPods returns the objects that the sidecars of pods work on, by the UID of the pod.
func busyPods(ctx context.Context, c client.Reader, namespace, id string) (map[types.UID][]types.UID, error) {
	out := map[types.UID][]types.UID{}
	note := func(o metav1.Object, running func(component string) bool) {
		work, err := sidecar.Decode(o.GetAnnotations()[v1alpha1.AnnotationSidecarTask])
		if err != nil {
			return
		}
		for _, a := range work.Assignments {
			for _, component := range a.Components {
				if a.PodUID != "" && running(component.Name) {
					out[a.PodUID] = append(out[a.PodUID], o.GetUID())
				}
			}
		}
	}
	selector := client.MatchingLabels{v1alpha1.LabelSidecar: id}
	var snapshots v1alpha1.SnapshotList
	if err := c.List(ctx, &snapshots, client.InNamespace(namespace), selector); err != nil {
		return nil, fmt.Errorf("list Snapshots of sidecar %s: %w", id, err)
	}
	for i := range snapshots.Items {
		s := &snapshots.Items[i]
		note(s, func(name string) bool { return s.Status.Components[name].Phase == v1alpha1.SnapshotRunning })
	}
	var restores v1alpha1.RestoreSessionList
	if err := c.List(ctx, &restores, client.InNamespace(namespace), selector); err != nil {
		return nil, fmt.Errorf("list RestoreSessions of sidecar %s: %w", id, err)
	}
	for i := range restores.Items {
		r := &restores.Items[i]
		note(r, func(name string) bool { return r.Status.Components[name].Phase == v1alpha1.RestoreSessionRunning })
	}
	return out, nil
}
