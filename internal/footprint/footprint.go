// Package footprint says what of the cluster the manager keeps in memory. The suites of the controllers take it from here
// too, so that a controller that reads what was dropped fails in its own tests.
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

// Cache keeps of pods, Jobs and CronJobs only those that Cairn made, and of targets only that they exist and what selectors of
// BackupBatches look at: the rest of a cluster's is not our size.
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

// Client reads Secrets and ConfigMaps from the API server: they are many, large and not our business.
func Client() client.Options {
	return client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}}
}

// withoutWork drops what a mover was told to do. What is asked of a Job and its pods later is how they are, and of the pods
// that make repositories also where: initjob.Request.Rival tells by their task whether two are at work in one directory.
var withoutWork toolscache.TransformFunc = func(in any) (any, error) {
	switch o := in.(type) {
	case *batchv1.Job:
		o.Spec.Template = corev1.PodTemplateSpec{}
		o.ManagedFields = nil
	case *corev1.Pod:
		work, makes := o.Annotations[v1alpha1.AnnotationTask], o.Labels[v1alpha1.LabelRepository] != ""
		o.Spec, o.Annotations, o.ManagedFields = corev1.PodSpec{}, nil, nil
		if makes {
			o.Annotations = map[string]string{v1alpha1.AnnotationTask: work}
		}
	}
	return in, nil
}

// onlyIdentity drops everything that does not tell which object it is, but its labels, its generation and the pod that it goes
// with, by which selectors choose. These kinds are watched without spec and status; who needs more of one reads it from the API
// server.
var onlyIdentity toolscache.TransformFunc = func(in any) (any, error) {
	o, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return cache.TransformStripManagedFields()(in)
	}
	kept := metav1.ObjectMeta{
		Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, DeletionTimestamp: o.DeletionTimestamp,
		Generation: o.Generation, Labels: o.Labels,
	}
	if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "Pod" {
		kept.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	o.ObjectMeta = kept
	return o, nil
}
