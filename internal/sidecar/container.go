package sidecar

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// FieldManager is the field manager of what Cairn applies to workloads. It owns nothing else.
const FieldManager = "cairn-sidecar"

// Names of the volumes that Cairn adds to a workload.
const (
	secretVolume = "cairn-sidecar"
	workVolume   = "cairn-work"
)

// ownVolumes lists the names of all volumes that Cairn adds to a workload.
var ownVolumes = []string{secretVolume, workVolume}

// NewContainer returns the container of the sidecar with this name. It mounts the workload's own volumes by their
// names: a second volume for the same claim would keep the pod from starting. It fails with
// moverjob.ErrPrivilegeRequired if the settings need rights that the namespace does not grant.
func NewContainer(id, image string, s *Settings) (corev1.Container, error) {
	security, err := moverjob.SidecarSecurity(s.User, s.Privileged, s.Security)
	if err != nil {
		return corev1.Container{}, err
	}
	always := corev1.ContainerRestartPolicyAlways
	env := slices.DeleteFunc(slices.Clone(s.Env), func(e corev1.EnvVar) bool {
		return slices.Contains([]string{"HOME", "TMPDIR", envPodName, EnvPodUID, EnvPodNamespace}, e.Name)
	})
	mounts := []corev1.VolumeMount{
		{Name: secretVolume, MountPath: SecretDir, ReadOnly: true},
		{Name: workVolume, MountPath: workDir},
	}
	for _, v := range s.Volumes {
		mounts = append(mounts,
			corev1.VolumeMount{Name: v, MountPath: path.Join(VolumesDir, v), ReadOnly: true},
			corev1.VolumeMount{Name: v, MountPath: path.Join(RestoreDir, v)})
	}
	return corev1.Container{
		Name: Container, Image: image, Args: []string{Subcommand, "--id", id}, RestartPolicy: &always,
		Env: append([]corev1.EnvVar{
			{Name: "HOME", Value: workDir},
			{Name: "TMPDIR", Value: workDir},
			fromPod(envPodName, "metadata.name"), fromPod(EnvPodUID, "metadata.uid"),
			fromPod(EnvPodNamespace, "metadata.namespace"),
		}, env...),
		EnvFrom: s.EnvFrom, Resources: moverjob.SidecarResources(s.Resources), SecurityContext: security,
		VolumeMounts: mounts,
	}, nil
}

func fromPod(name, field string) corev1.EnvVar {
	return corev1.EnvVar{
		Name:      name,
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: field}},
	}
}

// NewVolumes returns the volumes of the sidecar with this name. The Secret is optional, so that no pod of a workload
// waits for Cairn.
func NewVolumes(id string) []corev1.Volume {
	return []corev1.Volume{
		{Name: secretVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: id, Optional: new(true), DefaultMode: new(int32(0o444)),
		}}},
		{Name: workVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
}

// Injection returns what the manager applies to a workload to add the sidecar: only its label, its container and its
// volumes. It has the workload's UID, so that a deleted workload is not created again.
func Injection(
	gvk schema.GroupVersionKind, workload metav1.Object, id string, container corev1.Container,
) (*unstructured.Unstructured, error) {
	c, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&container)
	if err != nil {
		return nil, err
	}
	var volumes []any
	for _, v := range NewVolumes(id) {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v)
		if err != nil {
			return nil, err
		}
		volumes = append(volumes, u)
	}
	u := Withdrawal(gvk, workload)
	u.SetLabels(map[string]string{v1alpha1.LabelSidecar: id})
	spec := map[string]any{"initContainers": []any{c}, "volumes": volumes}
	u.Object["spec"] = map[string]any{"template": map[string]any{"spec": spec}}
	return u, nil
}

// Withdrawal returns what the manager applies to a workload to remove everything that Injection added.
func Withdrawal(gvk schema.GroupVersionKind, workload metav1.Object) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(workload.GetNamespace())
	u.SetName(workload.GetName())
	u.SetUID(workload.GetUID())
	return u
}
