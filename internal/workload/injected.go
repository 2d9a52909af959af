package workload

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SidecarVolumes returns the volumes that a sidecar in a workload's pods works on, by their names in the pod, and the
// security context with which it runs. They are the volumes that Jobs would back up. Of t it uses the workload, Paths
// and Privileged.
func SidecarVolumes(t Target) ([]string, v1alpha1.MoverSecurityContext, *v1alpha1.ResolvedError) {
	var target string
	var spec *corev1.PodSpec
	var templates []corev1.PersistentVolumeClaim
	switch {
	case t.Deployment != nil:
		target, spec = "Deployment/"+t.Deployment.Name, &t.Deployment.Spec.Template.Spec
	case t.StatefulSet != nil:
		target, spec, templates = "StatefulSet/"+t.StatefulSet.Name, &t.StatefulSet.Spec.Template.Spec,
			t.StatefulSet.Spec.VolumeClaimTemplates
	case t.DaemonSet != nil:
		target, spec = "DaemonSet/"+t.DaemonSet.Name, &t.DaemonSet.Spec.Template.Spec
	default:
		return nil, v1alpha1.MoverSecurityContext{},
			Fail(v1alpha1.ReasonTargetNotFound,
				"the target has no pods: a sidecar runs in a Deployment, StatefulSet or DaemonSet")
	}
	r := Resolver{Target: t}
	volumes, err := r.Volumes(target, spec, templates...)
	if err != nil {
		return nil, v1alpha1.MoverSecurityContext{}, err
	}
	names := make([]string, len(volumes))
	for i, v := range volumes {
		names[i] = v.Name
	}
	return names, r.SecurityContext(spec, volumes[0].Name), nil
}
