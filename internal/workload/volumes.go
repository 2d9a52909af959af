package workload

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kubestash"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Volume is a volume of a pod template that can be backed up.
type Volume struct {
	Name     string
	claim    string // the same for every pod
	template bool   // from volumeClaimTemplates: <name>-<pod>
	PerPod   bool   // ephemeral: <pod>-<name>
	hostPath string
	path     string // inside the volume
	mounts   []v1alpha1.ResolvedMount
}

// resolved returns the volume of one pod as one component.
func (v Volume) resolved(component, pod string) v1alpha1.ResolvedVolume {
	out := v1alpha1.ResolvedVolume{
		Component: component, ClaimName: v.claim, HostPath: v.hostPath, Path: v.path, Mounts: v.mounts,
	}
	switch {
	case v.template:
		out.ClaimName = v.Name + "-" + pod
	case v.PerPod:
		out.ClaimName = pod + "-" + v.Name
	}
	return out
}

// Resolved returns the volume of one pod as one component, with the volume's name if a sidecar backs it up.
func (r *Resolver) Resolved(v Volume, component, pod string) v1alpha1.ResolvedVolume {
	out := v.resolved(component, pod)
	if r.Sidecar {
		out.Volume = v.Name
	}
	return out
}

// Volumes returns the volumes of a pod template that are backed up, in the template's order, limited by the parameter
// paths. There is at least one.
func (r *Resolver) Volumes(
	target string, spec *corev1.PodSpec, templates ...corev1.PersistentVolumeClaim,
) ([]Volume, *v1alpha1.ResolvedError) {
	var all []Volume
	for _, t := range templates {
		all = append(all, Volume{Name: t.Name, template: true})
	}
	for _, v := range spec.Volumes {
		switch {
		case slices.ContainsFunc(all, func(a Volume) bool { return a.Name == v.Name }):
			// A volumeClaimTemplate replaces a volume with its name.
		case v.PersistentVolumeClaim != nil:
			all = append(all, Volume{Name: v.Name, claim: v.PersistentVolumeClaim.ClaimName})
		case v.Ephemeral != nil:
			all = append(all, Volume{Name: v.Name, PerPod: true})
		case v.HostPath != nil && r.Privileged && !r.VolumeSnapshots:
			all = append(all, Volume{Name: v.Name, hostPath: v.HostPath.Path})
		}
	}
	var device string
	if !r.VolumeSnapshots { // VolumeSnapshots include raw block devices
		all = slices.DeleteFunc(all, func(v Volume) bool {
			is := policy.IsDevice(spec, v.Name)
			if is {
				device = v.Name
			}
			return is
		})
	}
	if device != "" && strings.TrimSpace(r.Paths) == "" { // Leaving it out unasked would look like a complete backup.
		return nil, Fail(v1alpha1.ReasonNoVolumes,
			"volume %s of %s is %s; leave it out by naming the directories that are backed up with the parameter paths",
			device, target, rawDevice)
	}
	if len(all) == 0 && r.VolumeSnapshots {
		return nil, Fail(v1alpha1.ReasonNoVolumes,
			"%s has no PersistentVolumeClaim, so there is nothing to make a VolumeSnapshot of", target)
	}
	if len(all) == 0 {
		return nil, Fail(v1alpha1.ReasonNoVolumes,
			"%s has no volume that can be backed up: a PersistentVolumeClaim, or in a Namespace with the annotation "+
				"%s a hostPath", target, v1alpha1.AnnotationPrivilegedMovers)
	}
	if refusal := r.incomplete(target, spec, all); refusal != nil {
		return nil, refusal
	}
	if !r.VolumeSnapshots {
		for i := range all {
			all[i].mounts = mountsOf(spec, all[i].Name)
		}
	}
	if strings.TrimSpace(r.Paths) != "" {
		return r.choose(all, spec)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(v Volume) bool {
		twice := v.claim != "" && seen[v.claim]
		seen[v.claim] = true
		return twice
	}), nil
}

// incomplete refuses to leave out a volume that nobody asked to leave out.
func (r *Resolver) incomplete(target string, spec *corev1.PodSpec, all []Volume) *v1alpha1.ResolvedError {
	v := leftOut(spec, all)
	if v == nil || !r.whole || r.VolumeSnapshots || strings.TrimSpace(r.Paths) != "" {
		return nil
	}
	advice := "only PersistentVolumeClaims and hostPaths can be backed up"
	if v.HostPath != nil {
		advice = "a hostPath needs a Namespace with the annotation " + v1alpha1.AnnotationPrivilegedMovers
	}
	return Fail(v1alpha1.ReasonNoVolumes, "volume %s of %s can hold data and would be left out: %s; to leave it out, "+
		"name the directories that are backed up with the parameter paths", v.Name, target, advice)
}

// leftOut returns a volume of a pod template that can hold data of the workload and is not among all, or nil.
func leftOut(spec *corev1.PodSpec, all []Volume) *corev1.Volume {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if !slices.ContainsFunc(all, func(a Volume) bool { return a.Name == v.Name }) && canHoldData(spec, v) {
			return v
		}
	}
	return nil
}

// canHoldData reports whether a volume that can't be backed up can hold data of the workload. Volumes that end with
// their pod hold none, and neither does what no container is able to write.
func canHoldData(spec *corev1.PodSpec, v *corev1.Volume) bool {
	s := v.VolumeSource
	switch {
	case policy.IsDevice(spec, v.Name): // refused for itself
		return false
	case s == corev1.VolumeSource{}, s.EmptyDir != nil, s.ConfigMap != nil, s.Secret != nil, s.DownwardAPI != nil,
		s.Projected != nil, s.Image != nil, s.GitRepo != nil:
		return false
	case s.HostPath != nil && isDeviceFile(s.HostPath), s.CSI != nil && ptr.Deref(s.CSI.ReadOnly, false):
		return false
	default:
		return written(spec, v.Name)
	}
}

// isDeviceFile reports whether a hostPath is a socket or a device of the node, such as that of the container runtime.
func isDeviceFile(s *corev1.HostPathVolumeSource) bool {
	switch ptr.Deref(s.Type, corev1.HostPathUnset) {
	case corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev:
		return true
	default:
		return false
	}
}

// written reports whether a container is able to write to a volume.
func written(spec *corev1.PodSpec, volume string) bool {
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == volume && !m.ReadOnly
		}) {
			return true
		}
	}
	return false
}

// rawDevice describes a volume without a file system and says what to do about it.
const rawDevice = "a raw block device, which holds no files: back it up with the task volume-snapshot"

// deviceClaim refuses to back up files of a claim that is a raw block device, because no container can mount it.
func (r *Resolver) deviceClaim(v v1alpha1.ResolvedVolume) *v1alpha1.ResolvedError {
	claim := r.Claims[v.ClaimName]
	if r.VolumeSnapshots || claim == nil ||
		ptr.Deref(claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) != corev1.PersistentVolumeBlock {
		return nil
	}
	return Fail(v1alpha1.ReasonNoVolumes, "PersistentVolumeClaim %s is %s", v.ClaimName, rawDevice)
}

// Bounds of ResolvedVolume.mounts. The first is in the API too. The second is for the text of all of them, which a run
// holds for each volume and pod: the API server takes a mount path of any length, and a run is one object.
const (
	maxMounts    = 16
	maxMountText = 1 << 10
)

// mountsOf returns where the containers mount a volume, each path once. Only the kubelet knows what a subPathExpr is.
func mountsOf(spec *corev1.PodSpec, volume string) []v1alpha1.ResolvedMount {
	var out []v1alpha1.ResolvedMount
	text := 0
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		for _, m := range c.VolumeMounts {
			at := v1alpha1.ResolvedMount{Path: path.Clean(m.MountPath), SubPath: m.SubPath}
			size := len(at.Path) + len(at.SubPath)
			if m.Name == volume && m.SubPathExpr == "" && len(out) < maxMounts && text+size <= maxMountText &&
				path.IsAbs(at.Path) &&
				!slices.ContainsFunc(out, func(o v1alpha1.ResolvedMount) bool { return o.Path == at.Path }) {
				out, text = append(out, at), text+size
			}
		}
	}
	return out
}

// mountOf returns the mount that holds a container's path: the one with the longest path, as in the kernel. Among
// several containers the first wins.
func mountOf(spec *corev1.PodSpec, p string) (corev1.VolumeMount, bool) {
	var best corev1.VolumeMount
	longest := -1
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		for _, m := range c.VolumeMounts {
			at := strings.TrimSuffix(path.Clean(m.MountPath), "/")
			if (p == at || strings.HasPrefix(p, at+"/")) && len(at) > longest {
				best, longest = m, len(at)
			}
		}
	}
	return best, longest >= 0
}

// Names lists the names of volumes in messages.
func Names(all []Volume) string {
	var out []string
	for _, v := range all {
		out = append(out, v.Name)
	}
	return strings.Join(out, ", ")
}

// claimPath reads the parameter paths of a PersistentVolumeClaim, one directory inside it. Paths of KubeStash and Stash
// begin with the directory where their jobs mount the claim.
func claimPath(paths string) (string, *v1alpha1.ResolvedError) {
	p := strings.TrimSpace(paths)
	if strings.Contains(p, ",") {
		return "", Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %q names several directories: name one directory per volume", p)
	}
	if slices.Contains(strings.Split(p, "/"), "..") {
		return "", Fail(v1alpha1.ReasonInvalidParameters, "paths: %q leads out of the volume", p)
	}
	p = path.Clean("/" + p)
	for _, mount := range kubestash.VolumePaths {
		if p == mount || strings.HasPrefix(p, mount+"/") {
			p = strings.TrimPrefix(p, mount)
		}
	}
	return strings.TrimPrefix(p, "/"), nil
}
