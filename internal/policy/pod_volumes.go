package policy

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// VolumesOf returns where the pods of a Deployment, StatefulSet or DaemonSet keep their data; nil for every other kind.
func VolumesOf(workload runtime.Object) *PodVolumes {
	switch o := workload.(type) {
	case *appsv1.Deployment:
		return volumesOf(&o.Spec.Template.Spec, nil)
	case *appsv1.DaemonSet:
		return volumesOf(&o.Spec.Template.Spec, nil)
	case *appsv1.StatefulSet:
		out := volumesOf(&o.Spec.Template.Spec, o.Spec.VolumeClaimTemplates)
		replicas, first := int32(1), int32(0)
		if o.Spec.Replicas != nil {
			replicas = *o.Spec.Replicas
		}
		if o.Spec.Ordinals != nil {
			first = o.Spec.Ordinals.Start
		}
		if replicas == 0 {
			out.Claims = nil // The workload's backup fails, so its claims are backed up on their own.
		}
		for n := first; n < first+replicas; n++ {
			for _, template := range o.Spec.VolumeClaimTemplates {
				if !IsDevice(&o.Spec.Template.Spec, template.Name) {
					out.Claims = append(out.Claims, template.Name+"-"+o.Name+"-"+strconv.Itoa(int(n)))
				}
			}
		}
		return out
	default:
		return nil
	}
}

func volumesOf(pod *corev1.PodSpec, templates []corev1.PersistentVolumeClaim) *PodVolumes {
	out := &PodVolumes{None: len(templates) == 0}
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		if slices.ContainsFunc(templates, func(t corev1.PersistentVolumeClaim) bool { return t.Name == v.Name }) {
			continue // The template takes the volume's place.
		}
		if claim := v.PersistentVolumeClaim; claim != nil && !IsDevice(pod, v.Name) {
			out.Claims = append(out.Claims, claim.ClaimName)
		}
		out.None = out.None && (v.EmptyDir != nil || v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil ||
			v.Projected != nil || v.Image != nil)
	}
	return out
}

// IsDevice reports whether a container or init container of a pod uses a volume as a raw block device. A backup of a
// workload's files leaves out such a volume.
func IsDevice(pod *corev1.PodSpec, name string) bool {
	return slices.ContainsFunc(slices.Concat(pod.InitContainers, pod.Containers), func(c corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == name })
	})
}
