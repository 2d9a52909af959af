package moverjob

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/variables"
)

// volume of the target, mounted at task.VolumesDir/<component> unless mountPath is set.
type volume struct {
	component, claim, hostPath string
	mountPath, subPath         string
	readOnly                   bool
	// readOnlyClaim means that nobody can write to the claim.
	readOnlyClaim bool
	// block means a raw device, which appears at the same path.
	block bool
}

// volumeName returns the name of the volume of component i in the blueprint.
func volumeName(i int) string { return "component-" + strconv.Itoa(i) }

// mount returns the mount of component i in the blueprint.
func (v volume) mount(i int, readOnly bool) corev1.VolumeMount {
	return corev1.VolumeMount{
		Name: volumeName(i), MountPath: cmp.Or(v.mountPath, path.Join(task.VolumesDir, v.component)),
		SubPath: v.subPath, ReadOnly: readOnly,
	}
}

// mounts returns the volumes of the pod and their mounts in the mover's container.
func (b blueprint) mounts() ([]corev1.Volume, []corev1.VolumeMount, error) {
	volumes := []corev1.Volume{
		{Name: "task", VolumeSource: taskSource()},
		b.shared(variables.WorkVolume),
		{Name: "token", VolumeSource: tokenSource()},
	}
	mounts := []corev1.VolumeMount{
		{Name: "task", MountPath: path.Dir(task.Path), ReadOnly: true},
		{Name: variables.WorkVolume, MountPath: task.WorkDir},
		{Name: "token", MountPath: tokenDir, ReadOnly: true},
	}
	add := func(name, dir string, readOnly bool, source corev1.VolumeSource) {
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: source})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: readOnly})
	}
	if b.credentials.StorageSecret != "" {
		add("credentials", task.CredentialsDir, true, secretSource(b.credentials.StorageSecret,
			policy.SecretOf(b.task.Storage.Spec).Keys()...))
	}
	if b.credentials.EncryptionSecret != "" {
		add("encryption", task.EncryptionDir, true,
			secretSource(b.credentials.EncryptionSecret, policy.PasswordKeys()...))
	}
	if d := b.resolved.Database; d != nil {
		add(databaseVolume, task.DatabaseDir, true, databaseSource(d))
	}
	if b.hasProgram() {
		empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		add(programsVolume, task.ProgramDir, true, empty)
		volumes = append(volumes, corev1.Volume{Name: binVolume, VolumeSource: empty},
			corev1.Volume{Name: programWorkVolume, VolumeSource: empty})
	}
	for i, secret := range b.passwords {
		if secret != "" {
			add("encryption-"+strconv.Itoa(i), passwordDir(i), true, secretSource(secret, policy.PasswordKeys()...))
		}
	}
	if local := b.task.Storage.Spec.Local; local != nil {
		source, err := b.storageSource(local)
		if err != nil {
			return nil, nil, err
		}
		add("storage", StorageMount(local), false, source)
	}
	data, mounted, err := b.componentMounts()
	if err != nil {
		return nil, nil, err
	}
	volumes, mounts = append(volumes, data...), append(mounts, mounted...)
	if b.hasScratch() {
		volumes = append(volumes, b.shared(variables.ScratchVolume))
		if m := scratchMount(); !b.hasProgram() || b.holdsCache(m) {
			mounts = append(mounts, m)
		}
	}
	if err := privilegedVolumes(b.resolved.Volumes, b.privileged); err != nil {
		return nil, nil, err
	}
	return append(volumes, b.ownVolumes()...), mounts, nil
}

// componentMounts returns the volumes that are backed up or restored, and their mounts in the mover's container.
func (b blueprint) componentMounts() (volumes []corev1.Volume, mounts []corev1.VolumeMount, _ error) {
	for i, v := range b.volumes {
		source, err := b.componentSource(v)
		if err != nil {
			return nil, nil, err
		}
		volumes = append(volumes, corev1.Volume{Name: volumeName(i), VolumeSource: source})
		// A mover that backs up what a program writes reads no files.
		if !v.block && !(b.hasProgram() && v.readOnly) {
			mounts = append(mounts, v.mount(i, v.readOnly))
		}
	}
	return volumes, mounts, nil
}

// hasScratch reports whether the pod has the volume that all steps share.
func (b blueprint) hasScratch() bool {
	return len(b.resolved.Steps) > 0 || b.overriding(variables.ScratchVolume) != nil
}

// scratchMount returns the mount of the volume that all steps share.
func scratchMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: variables.ScratchVolume, MountPath: variables.ScratchDir}
}

// ownVolumes returns the volumes that the policy or the Addon asked for, except Cairn's own.
func (b blueprint) ownVolumes() []corev1.Volume {
	var out []corev1.Volume
	for _, v := range b.resolved.Volumes {
		if v.Name != variables.ScratchVolume && v.Name != variables.WorkVolume {
			out = append(out, *v.DeepCopy())
		}
	}
	return out
}

// componentSource returns the source of the volume of a component. A host path needs a privileged namespace.
func (b blueprint) componentSource(v volume) (corev1.VolumeSource, error) {
	if v.hostPath == "" {
		source := claimSource(v.claim)
		if v.readOnlyClaim {
			source.PersistentVolumeClaim.ReadOnly = true
		}
		return source, nil
	}
	if !b.privileged {
		return corev1.VolumeSource{}, fmt.Errorf("host path of component %s %w", v.component, ErrPrivilegeRequired)
	}
	return corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: v.hostPath, Type: new(corev1.HostPathDirectory)},
	}, nil
}

// overriding returns the volume with the source that the policy or the Addon set for one of Cairn's volumes, or nil.
func (b blueprint) overriding(name string) *corev1.Volume {
	for i := range b.resolved.Volumes {
		if b.resolved.Volumes[i].Name == name {
			return b.resolved.Volumes[i].DeepCopy()
		}
	}
	return nil
}

// shared returns one of Cairn's volumes: empty when the pod starts, unless the policy or the Addon set another source.
func (b blueprint) shared(name string) corev1.Volume {
	if v := b.overriding(name); v != nil {
		return *v
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// taskSource returns the volume with the task, which is an annotation of the pod, as a file.
func taskSource() corev1.VolumeSource {
	return corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
		Items: []corev1.DownwardAPIVolumeFile{{
			Path: path.Base(task.Path),
			FieldRef: &corev1.ObjectFieldSelector{
				APIVersion: "v1", FieldPath: "metadata.annotations['" + v1alpha1.AnnotationTask + "']",
			},
		}},
		DefaultMode: new(int32(0o444)),
	}}
}

// tokenDir is where clients look for the token of the pod.
const tokenDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// tokenSource returns the volume that Kubernetes mounts into every container of a pod. Cairn mounts it only into the
// mover, because a step must not use the mover's right to report.
func tokenSource() corev1.VolumeSource {
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: new(int32(0o444)),
		Sources: []corev1.VolumeProjection{
			{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
					Path: "token", ExpirationSeconds: new(int64(3607)),
				},
			},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{
					APIVersion: "v1", FieldPath: "metadata.namespace",
				},
			}}}},
		},
	}}
}

// StorageMount returns where the volume of a local storage is mounted.
func StorageMount(l *v1alpha1.LocalStorage) string { return cmp.Or(l.MountPath, task.StorageDir) }

// storageSource returns the volume of a local storage. Other volumes than claims need a privileged namespace.
func (b blueprint) storageSource(l *v1alpha1.LocalStorage) (corev1.VolumeSource, error) {
	var source corev1.VolumeSource
	switch {
	case l.PersistentVolumeClaim != nil:
		source = claimSource(l.PersistentVolumeClaim.ClaimName)
	case l.NFS != nil:
		source.NFS = &corev1.NFSVolumeSource{Server: l.NFS.Server, Path: l.NFS.Path}
	case l.HostPath != nil:
		source.HostPath = &corev1.HostPathVolumeSource{
			Path: l.HostPath.Path, Type: new(cmp.Or(l.HostPath.Type, corev1.HostPathDirectory)),
		}
	default:
		return source, errors.New("the local storage has no volume")
	}
	return source, privilegedVolumes([]corev1.Volume{{Name: "storage", VolumeSource: source}}, b.privileged)
}

// secretSource returns a volume with the given keys of a Secret. Secret and keys are optional: a mover that starts
// without them reports what is missing, whereas the kubelet would wait for ever.
func secretSource(name string, keys ...string) corev1.VolumeSource {
	s := &corev1.SecretVolumeSource{SecretName: name, Optional: new(true), DefaultMode: new(int32(0o444))}
	for _, k := range keys {
		s.Items = append(s.Items, corev1.KeyToPath{Key: k, Path: k})
	}
	return corev1.VolumeSource{Secret: s}
}

// claimSource returns a volume for a claim. The claim is not read-only here, because a driver could then refuse to
// share the volume with the pod that writes to it. The mount is read-only instead.
func claimSource(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
}
