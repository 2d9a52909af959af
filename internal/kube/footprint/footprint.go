// Package footprint defines which objects, and which of their fields, the manager keeps in memory. The test suites of
// the controllers use the same options, so that a controller that reads a dropped field fails in its own tests. All
// functions are pure.
package footprint

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Cache returns the options of the manager's cache. Of pods, Jobs and CronJobs it keeps only those that Cairn made. Of
// targets it keeps only their identity and what the selectors of BackupBatches look at. The manager's memory so does
// not grow with the rest of the cluster.
func Cache() cache.Options {
	ours := labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
	target := cache.ByObject{Transform: onlyIdentity}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:                   {Label: ours, Transform: withoutWork},
			&batchv1.Job{}:                  {Label: ours, Transform: withoutWork},
			&batchv1.CronJob{}:              {Label: ours},
			&corev1.PersistentVolumeClaim{}: target,
			&appsv1.Deployment{}:            target,
			&appsv1.StatefulSet{}:           target,
			&appsv1.DaemonSet{}:             target,
		},
	}
}

// Client returns options by which the client reads Secrets and ConfigMaps from the API server. A cluster has many of
// them, they are large, and few belong to Cairn.
func Client() client.Options {
	return client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{
		&corev1.Secret{},
		&corev1.ConfigMap{},
	}}}
}

// withoutWork drops the work order of a mover. Readers of a cached Job or pod ask only how it is doing, and which
// claims the pod uses. Why a mover failed also depends on its containers: whoever writes that down reads the pod again,
// past the cache. For a pod that creates a repository, initjob.Request.Rival also asks where it works: the task
// annotation shows whether two pods work in the same directory.
var withoutWork toolscache.TransformFunc = func(in any) (any, error) {
	switch o := in.(type) {
	case *batchv1.Job:
		o.Spec.Template = corev1.PodTemplateSpec{}
		o.ManagedFields = nil
	case *corev1.Pod:
		work, makes := o.Annotations[v1alpha1.AnnotationTask], o.Labels[v1alpha1.LabelRepository] != ""
		o.Spec, o.Annotations, o.ManagedFields = corev1.PodSpec{Volumes: ofClaims(o.Spec.Volumes)}, nil, nil
		if makes {
			o.Annotations = map[string]string{v1alpha1.AnnotationTask: work}
		}
	}
	return in, nil
}

// ofClaims returns the volumes that name a claim.
func ofClaims(volumes []corev1.Volume) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range volumes {
		if v.PersistentVolumeClaim != nil {
			out = append(out, v)
		}
	}
	return out
}

// onlyIdentity drops everything but an object's identity and what selectors choose by: its labels, its generation and
// the pod that it is deleted with. These kinds are watched without spec and status; whoever needs more of an object
// reads it from the API server.
var onlyIdentity toolscache.TransformFunc = func(in any) (any, error) {
	o, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return cache.TransformStripManagedFields()(in)
	}
	kept := metav1.ObjectMeta{
		Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion,
		DeletionTimestamp: o.DeletionTimestamp,
		Generation:        o.Generation, Labels: o.Labels,
	}
	if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "Pod" {
		kept.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	o.ObjectMeta = kept
	return o, nil
}
