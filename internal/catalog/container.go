package catalog

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// MergedEnv returns base overridden by over, by name and in this order.
func MergedEnv(base, over []corev1.EnvVar) []corev1.EnvVar {
	out := slices.DeleteFunc(slices.Clone(base), func(b corev1.EnvVar) bool {
		return slices.ContainsFunc(over, func(o corev1.EnvVar) bool { return o.Name == b.Name })
	})
	return append(out, over...)
}

// MergedResources returns base overridden by over.
func MergedResources(base, over corev1.ResourceRequirements) corev1.ResourceRequirements {
	out := *base.DeepCopy()
	merge := func(to *corev1.ResourceList, from corev1.ResourceList) {
		for name, quantity := range from {
			if *to == nil {
				*to = corev1.ResourceList{}
			}
			(*to)[name] = quantity.DeepCopy()
		}
	}
	merge(&out.Limits, over.Limits)
	merge(&out.Requests, over.Requests)
	if len(over.Claims) > 0 {
		out.Claims = slices.Clone(over.Claims)
	}
	return out
}

// PodVolume returns a volume of a pod.
func PodVolume(name string, s v1alpha1.TaskVolumeSource) corev1.Volume {
	s = *s.DeepCopy()
	out := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: s.PersistentVolumeClaim, EmptyDir: s.EmptyDir, ConfigMap: s.ConfigMap, Secret: s.Secret,
		CSI: s.CSI, NFS: s.NFS, HostPath: s.HostPath,
	}}
	if t := s.VolumeClaimTemplate; t != nil {
		out.Ephemeral = &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
			ObjectMeta: metav1.ObjectMeta{Labels: t.Metadata.Labels, Annotations: t.Metadata.Annotations},
			Spec:       t.Spec,
		}}
	}
	return out
}

// CheckVolumes reports a volume of a pod that is defined twice, or that a container names and the pod lacks.
func CheckVolumes(pod *corev1.PodSpec) error {
	names := map[string]bool{}
	for _, v := range pod.Volumes {
		if names[v.Name] {
			return fmt.Errorf("volume %q is defined twice", v.Name)
		}
		names[v.Name] = true
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if err := checkMounts(&c, names); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	return nil
}

func checkMounts(c *corev1.Container, names map[string]bool) error {
	paths := map[string]string{}
	for _, m := range c.VolumeMounts {
		if !names[m.Name] {
			return fmt.Errorf("volumeMounts: there is no volume %q", m.Name)
		}
		if other, taken := paths[m.MountPath]; taken {
			return fmt.Errorf("volumeMounts: %s and %s are both mounted at %s", other, m.Name, m.MountPath)
		}
		paths[m.MountPath] = m.Name
	}
	for _, d := range c.VolumeDevices {
		if !names[d.Name] {
			return fmt.Errorf("volumeDevices: there is no volume %q", d.Name)
		}
	}
	return nil
}
