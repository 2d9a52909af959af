// Package workloadtest builds workloads, pods and claims for tests.
package workloadtest

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var appLabels = map[string]string{"app": "web"}

func selector() *metav1.LabelSelector { return &metav1.LabelSelector{MatchLabels: appLabels} }

// Claim returns a bound claim.
func Claim(name string, modes ...corev1.PersistentVolumeAccessMode) corev1.PersistentVolumeClaim {
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: modes},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

// ClaimVolume returns a volume of a claim.
func ClaimVolume(name, claim string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}
}

// Mount returns a mount of a volume.
func Mount(volume, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: path}
}

// PodSpec mounts the volume data at /data.
func PodSpec(volumes ...corev1.Volume) corev1.PodSpec {
	spec := corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "app"}}}
	for _, v := range volumes {
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, Mount(v.Name, "/"+v.Name))
	}
	return spec
}

// Pod returns a running pod of the workload.
func Pod(name, node string, spec corev1.PodSpec) corev1.Pod {
	spec.NodeName = node
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: appLabels},
		Spec:       spec,
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// HostPaths has a hostPath volume for each name.
func HostPaths(names ...string) corev1.PodSpec {
	var volumes []corev1.Volume
	for _, n := range names {
		volumes = append(volumes, corev1.Volume{
			Name: n, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/" + n}},
		})
	}
	return PodSpec(volumes...)
}

// Deployment returns the Deployment web.
func Deployment(spec corev1.PodSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Selector: selector(), Template: corev1.PodTemplateSpec{Spec: spec}},
	}
}

// StatefulSet returns the StatefulSet db with claim templates of these names.
func StatefulSet(replicas int32, spec corev1.PodSpec, templates ...string) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: selector(), Template: corev1.PodTemplateSpec{Spec: spec},
		},
	}
	for _, t := range templates {
		s.Spec.VolumeClaimTemplates = append(s.Spec.VolumeClaimTemplates, corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: t},
		})
	}
	return s
}

// DaemonSet returns the DaemonSet agent.
func DaemonSet(spec corev1.PodSpec) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector(), Template: corev1.PodTemplateSpec{Spec: spec}},
	}
}
