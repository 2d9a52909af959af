package workload

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// maxGroups is the limit of MoverSecurityContext.supplementalGroups in the API.
const maxGroups = 64

// wantsRoot reports whether the policy asks for root.
func wantsRoot(job *v1alpha1.JobPodSpec) bool {
	return job != nil && job.SecurityContext != nil && job.SecurityContext.RunAsUser != nil &&
		*job.SecurityContext.RunAsUser == 0
}

// SecurityContext returns the security context of the mover of a volume. It is that of the target's container, so that
// the mover reads what the container reads, or else that of the jobTemplate. The mover does not inherit root where the
// namespace does not allow root. Such a backup reports the files that it can't read.
func (r *Resolver) SecurityContext(spec *corev1.PodSpec, volumeName string) v1alpha1.MoverSecurityContext {
	if r.VolumeSnapshots {
		spec = nil // the mover reads no files
	}
	out := fromPod(spec, volumeName)
	var asked v1alpha1.MoverSecurityContext
	if r.Job != nil && r.Job.SecurityContext != nil {
		asked = *r.Job.SecurityContext.DeepCopy()
	}
	if out.RunAsUser != nil && *out.RunAsUser == 0 && !r.Privileged {
		out.RunAsUser = nil
	}
	if out.RunAsUser == nil || wantsRoot(r.Job) {
		out.RunAsUser = asked.RunAsUser
		if asked.RunAsGroup != nil {
			out.RunAsGroup = asked.RunAsGroup
		}
	}
	return complete(out, asked)
}

// complete fills in what is missing from what was asked for, or else from the defaults.
func complete(out, asked v1alpha1.MoverSecurityContext) v1alpha1.MoverSecurityContext {
	if out.RunAsUser == nil {
		user := moverjob.DefaultUser
		out.RunAsUser = &user
	}
	if out.RunAsGroup == nil {
		out.RunAsGroup = asked.RunAsGroup
	}
	if out.RunAsGroup == nil {
		group := *out.RunAsUser
		out.RunAsGroup = &group
	}
	out.SupplementalGroups = append(out.SupplementalGroups, asked.SupplementalGroups...)
	slices.Sort(out.SupplementalGroups)
	out.SupplementalGroups = slices.Compact(out.SupplementalGroups)
	if len(out.SupplementalGroups) > maxGroups {
		out.SupplementalGroups = out.SupplementalGroups[:maxGroups]
	}
	if out.SELinuxOptions == nil {
		out.SELinuxOptions = asked.SELinuxOptions
	}
	return out
}

// fromPod returns the security context of the container that mounts the volume. An fsGroup becomes a supplemental
// group, because with fsGroup the kubelet would change the owners of the whole volume.
func fromPod(spec *corev1.PodSpec, volumeName string) v1alpha1.MoverSecurityContext {
	var out v1alpha1.MoverSecurityContext
	if spec == nil {
		return out
	}
	if sc := spec.SecurityContext; sc != nil {
		out.RunAsUser, out.RunAsGroup, out.SELinuxOptions = sc.RunAsUser, sc.RunAsGroup, sc.SELinuxOptions
		out.SupplementalGroups = slices.Clone(sc.SupplementalGroups)
		if sc.FSGroup != nil {
			out.SupplementalGroups = append(out.SupplementalGroups, *sc.FSGroup)
		}
	}
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		mounts := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volumeName })
		if !mounts {
			continue
		}
		if sc := c.SecurityContext; sc != nil {
			if sc.RunAsUser != nil {
				out.RunAsUser = sc.RunAsUser
			}
			if sc.RunAsGroup != nil {
				out.RunAsGroup = sc.RunAsGroup
			}
			if sc.SELinuxOptions != nil {
				out.SELinuxOptions = sc.SELinuxOptions
			}
		}
		break
	}
	return *out.DeepCopy()
}

// SecurityContextOfRestore returns the security context of a restore: that of the jobTemplate, or else
// moverjob.DefaultUser. Root must be asked for and needs a namespace that allows it.
func SecurityContextOfRestore(
	job *v1alpha1.JobPodSpec, privileged bool,
) (v1alpha1.MoverSecurityContext, *v1alpha1.ResolvedError) {
	if wantsRoot(job) && !privileged {
		return v1alpha1.MoverSecurityContext{}, Fail(v1alpha1.ReasonPrivilegeRequired,
			"jobTemplate asks for runAsUser 0: set the annotation %s: \"true\" on the Namespace, or another user",
			v1alpha1.AnnotationPrivilegedMovers)
	}
	var asked v1alpha1.MoverSecurityContext
	if job != nil && job.SecurityContext != nil {
		asked = *job.SecurityContext.DeepCopy()
	}
	out := asked
	out.SupplementalGroups = nil
	return complete(out, asked), nil
}
