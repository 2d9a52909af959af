package task

import (
	"fmt"
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// volume of the target, mounted at VolumesDir/<component>.
type volume struct {
	component, claim, hostPath string
	readOnly                   bool
}

// mounts are the volumes of the pod and where its container sees them.
func (b blueprint) mounts() ([]corev1.Volume, []corev1.VolumeMount, error) {
	volumes := []corev1.Volume{
		{Name: "task", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{
				Path:     path.Base(Path),
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.annotations['" + v1alpha1.AnnotationTask + "']"},
			}},
			DefaultMode: new(int32(0o444)),
		}}},
		{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	mounts := []corev1.VolumeMount{
		{Name: "task", MountPath: path.Dir(Path), ReadOnly: true},
		{Name: "work", MountPath: WorkDir},
	}
	add := func(name, dir string, readOnly bool, source corev1.VolumeSource) {
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: source})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: readOnly})
	}
	if b.credentials.StorageSecret != "" {
		add("credentials", CredentialsDir, true, secretSource(b.credentials.StorageSecret, StorageKeys(b.task.Storage.Spec)...))
	}
	if b.credentials.EncryptionSecret != "" {
		add("encryption", EncryptionDir, true, secretSource(b.credentials.EncryptionSecret, v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword))
	}
	if local := b.task.Storage.Spec.Local; local != nil {
		add("storage", StorageDir, false, claimSource(local.PersistentVolumeClaim.ClaimName))
	}
	for i, v := range b.volumes {
		source := claimSource(v.claim)
		if v.hostPath != "" {
			if !b.privileged {
				return nil, nil, fmt.Errorf("host path of component %s %w", v.component, ErrPrivilegeRequired)
			}
			directory := corev1.HostPathDirectory
			source = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: v.hostPath, Type: &directory}}
		}
		add("component-"+strconv.Itoa(i), path.Join(VolumesDir, v.component), v.readOnly, source)
	}
	return volumes, mounts, nil
}

// StorageKeys are the keys of the storage's Secret that a mover may see.
func StorageKeys(s v1alpha1.Storage) []string {
	if s.Provider == v1alpha1.ProviderS3 {
		return []string{v1alpha1.S3AccessKeyID, v1alpha1.S3SecretAccessKey, v1alpha1.S3CACertData}
	}
	return nil
}

// secretSource shows only keys. Secret and keys are optional: a mover that starts without them says which is missing,
// while the kubelet would wait for ever.
func secretSource(name string, keys ...string) corev1.VolumeSource {
	s := &corev1.SecretVolumeSource{SecretName: name, Optional: new(true), DefaultMode: new(int32(0o444))}
	for _, k := range keys {
		s.Items = append(s.Items, corev1.KeyToPath{Key: k, Path: k})
	}
	return corev1.VolumeSource{Secret: s}
}

// claimSource mounts a claim. It is never marked read-only here: a driver could then refuse to share the volume with the
// pod that writes to it. The mount is what is read-only.
func claimSource(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
}
