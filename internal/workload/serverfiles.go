package workload

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// paramDataDirectory is the parameter of a task that names the directory with the server's files in a database's
// container.
const paramDataDirectory = "dataDirectory"

// filesOfServer fills in the claim that holds a directory of the database's container, and where that claim is mounted.
// It returns the name of the volume.
func (r *Resolver) filesOfServer(dir string, v *v1alpha1.ResolvedVolume) (string, *v1alpha1.ResolvedError) {
	pod, container := r.Server, r.ServerContainer
	if pod == nil || container == nil {
		return "", Fail(v1alpha1.ReasonInvalidTask,
			"the task reads the files of the database server, so the target must be a Service with exactly one pod, "+
				"a container of which declares the Service's port: name such a Service")
	}
	if !path.IsAbs(dir) {
		return "", Fail(v1alpha1.ReasonInvalidParameters, "%s: %q is not an absolute path in a container",
			paramDataDirectory, dir)
	}
	dir = path.Clean(dir)
	mount, ok := mountOf(&corev1.PodSpec{Containers: []corev1.Container{*container}}, dir)
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return ok && v.Name == mount.Name })
	switch {
	case i < 0 || claimOf(pod.Spec.Volumes[i], pod.Name) == "":
		return "", Fail(v1alpha1.ReasonInvalidParameters,
			"%s: %s of container %s of pod %s is on no PersistentVolumeClaim: name the directory with the server's "+
				"files",
			paramDataDirectory, dir, container.Name, pod.Name)
	case mount.SubPathExpr != "":
		return "", Fail(v1alpha1.ReasonInvalidParameters,
			"%s: %s is on volume %s, which is mounted with subPathExpr: name a directory on a volume that is mounted "+
				"without it", paramDataDirectory, dir, mount.Name)
	}
	if err := unseen(pod, container, dir, mount); err != nil {
		return "", err
	}
	v.ClaimName, v.MountPath, v.SubPath = claimOf(pod.Spec.Volumes[i], pod.Name), path.Clean(mount.MountPath),
		mount.SubPath
	if catalog.CollidesWithMounts(v.MountPath) {
		return "", Fail(v1alpha1.ReasonInvalidParameters,
			"%s: %s is on volume %s, which is mounted at %s, a path that movers use themselves: mount the volume at "+
				"another path", paramDataDirectory, dir, mount.Name, v.MountPath)
	}
	return mount.Name, nil
}

// unseen refuses a directory in which the server keeps files that the mover would not see: those of another mount.
func unseen(pod *corev1.Pod, server *corev1.Container, dir string, own corev1.VolumeMount) *v1alpha1.ResolvedError {
	for _, m := range server.VolumeMounts {
		at := path.Clean(m.MountPath)
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 || at == path.Clean(own.MountPath) || !covers(dir, at) ||
			claimOf(pod.Spec.Volumes[i], pod.Name) == "" && !canHoldData(&pod.Spec, &pod.Spec.Volumes[i]) ||
			m.Name == own.Name && m.SubPathExpr == "" && dirOf(m, at) == dirOf(own, at) {
			continue
		}
		return Fail(v1alpha1.ReasonInvalidParameters,
			"%s: %s of container %s of pod %s is on volume %s, which the backup would leave out: back up the server "+
				"with another task, such as logical-backup, or keep its files on one volume", paramDataDirectory, at,
			server.Name, pod.Name, m.Name)
	}
	return nil
}
