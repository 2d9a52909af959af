package workload

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// leaveOut begins an element of ParamPaths that names mounts to leave out.
const leaveOut = "!"

// pick is a directory to back up that ParamPaths names.
type pick struct {
	path        string // as the container sees it
	at          string // where the container mounts the volume
	volume, dir string // the directory in the volume
}

// choose keeps the volumes that contain the container paths, and sets the directory inside each volume.
func (r *Resolver) choose(all []Volume, spec *corev1.PodSpec) ([]Volume, *v1alpha1.ResolvedError) {
	listed, out, err := splitPaths(r.Paths)
	if err != nil {
		return nil, err
	}
	var picks []pick
	for _, p := range listed {
		next, err := pickOf(all, spec, p)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(picks, func(o pick) bool { return o.volume == next.volume }); i >= 0 {
			return nil, Fail(v1alpha1.ReasonInvalidParameters,
				"paths: %s and %s are both on volume %s: name one directory per volume", picks[i].path, p, next.volume)
		}
		picks = append(picks, next)
	}
	if r.whole {
		if err := r.forgotten(all, spec, picks, out); err != nil {
			return nil, err
		}
	}
	var chosen []Volume
	for _, v := range all {
		if i := slices.IndexFunc(picks, func(o pick) bool { return o.volume == v.Name }); i >= 0 {
			v.path = picks[i].dir
			chosen = append(chosen, v)
		}
	}
	return chosen, nil
}

// splitPaths returns the paths that ParamPaths lists, and those that it leaves out.
func splitPaths(paths string) (listed, out []string, err *v1alpha1.ResolvedError) {
	for _, element := range strings.Split(paths, ",") {
		element = strings.TrimSpace(element)
		p, not := strings.CutPrefix(element, leaveOut)
		switch {
		case !path.IsAbs(p):
			return nil, nil, Fail(v1alpha1.ReasonInvalidParameters,
				"paths: %q is not an absolute path in a container", element)
		case not:
			out = append(out, path.Clean(p))
		default:
			listed = append(listed, path.Clean(p))
		}
	}
	if len(listed) == 0 {
		return nil, nil, Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %q only leaves out: name a directory to back up, too", paths)
	}
	return listed, out, nil
}

// pickOf finds the volume that holds a path.
func pickOf(all []Volume, spec *corev1.PodSpec, p string) (pick, *v1alpha1.ResolvedError) {
	mount, ok := mountOf(spec, p)
	if !ok || !slices.ContainsFunc(all, func(v Volume) bool { return v.Name == mount.Name }) {
		return pick{}, Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %s is on no volume that can be backed up; the target has: %s", p, Names(all))
	}
	if mount.SubPathExpr != "" {
		return pick{}, Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %s is on volume %s, which is mounted with subPathExpr: name a path of another mount of it", p,
			mount.Name)
	}
	at := path.Clean(mount.MountPath)
	return pick{path: p, at: at, volume: mount.Name, dir: dirOf(mount, p)}, nil
}

// dirOf returns the directory of a mount's volume that a container sees at a path in the mount.
func dirOf(m corev1.VolumeMount, p string) string {
	return path.Join("/", m.SubPath, strings.TrimPrefix(p, path.Clean(m.MountPath)))[1:]
}

// forgotten refuses to leave out, without being asked, what containers see at or below a listed path and what is not in
// the directory of that path: the data of another volume, or another part of the same one.
func (r *Resolver) forgotten(
	all []Volume, spec *corev1.PodSpec, picks []pick, out []string,
) *v1alpha1.ResolvedError {
	var mounts []corev1.VolumeMount
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		mounts = append(mounts, c.VolumeMounts...)
	}
	for _, o := range out {
		mounted := func(m corev1.VolumeMount) bool { return covers(o, path.Clean(m.MountPath)) }
		if !slices.ContainsFunc(mounts, mounted) &&
			!slices.ContainsFunc(picks, func(p pick) bool { return p.path == o }) {
			return Fail(v1alpha1.ReasonInvalidParameters,
				"paths: %s%s leaves nothing out, because no volume is mounted there: leave out what is in a volume "+
					"with the parameter exclude", leaveOut, o)
		}
	}
	for _, p := range picks {
		for _, m := range mounts {
			seen := path.Clean(m.MountPath) // where the container sees what can be forgotten
			switch {
			case covers(p.path, seen):
			case seen == p.at: // perhaps another volume in another container
				seen = p.path
			default:
				continue
			}
			if !r.holdsData(all, spec, m.Name) || isPicked(all, picks, p, m, seen) ||
				slices.ContainsFunc(out, func(o string) bool { return covers(o, seen) }) {
				continue
			}
			return refuseToForget(all, picks, p, m, seen)
		}
	}
	return nil
}

// covers reports whether a path is p or below p.
func covers(p, other string) bool {
	return other == p || strings.HasPrefix(other, strings.TrimSuffix(p, "/")+"/")
}

// isPicked reports whether the picks hold what a container sees at a path in a mount at or below the path of p, or name
// the part of it that is backed up.
func isPicked(all []Volume, picks []pick, p pick, m corev1.VolumeMount, seen string) bool {
	i := pickOn(all, picks, m.Name)
	if i < 0 {
		return false
	}
	whole := picks[i].dir == "" || m.SubPathExpr == "" && covers(picks[i].dir, dirOf(m, seen))
	return whole || picks[i] != p && covers(seen, picks[i].path)
}

// pickOn returns the index of the pick on a volume, or on another volume of the same claim, or -1.
func pickOn(all []Volume, picks []pick, volume string) int {
	claim := func(name string) string {
		i := slices.IndexFunc(all, func(v Volume) bool { return v.Name == name })
		if i < 0 {
			return ""
		}
		return all[i].claim
	}
	return slices.IndexFunc(picks, func(p pick) bool {
		return p.volume == volume || claim(volume) != "" && claim(p.volume) == claim(volume)
	})
}

// refuseToForget says what to do about what a container sees at a path in a mount.
func refuseToForget(
	all []Volume, picks []pick, p pick, m corev1.VolumeMount, seen string,
) *v1alpha1.ResolvedError {
	onPurpose := "leave it out on purpose: " + leaveOut + seen
	i := pickOn(all, picks, m.Name)
	switch {
	case i >= 0 && m.SubPathExpr != "":
		return Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %s is a directory of volume %s that only the kubelet knows, and of the volume only /%s is "+
				"backed up: name a path that stands for / of the volume, or none, or %s", seen, m.Name,
			picks[i].dir, onPurpose)
	case i >= 0:
		return Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %s is directory /%s of volume %s, of which only /%s is backed up: name a path that stands for "+
				"%s of the volume, or none, or %s", seen, dirOf(m, seen), m.Name, picks[i].dir,
			parent(picks[i].dir, dirOf(m, seen)), onPurpose)
	case !slices.ContainsFunc(all, func(v Volume) bool { return v.Name == m.Name }):
		return Fail(v1alpha1.ReasonInvalidParameters, "paths: %s is on volume %s, which can't be backed up: %s", seen,
			m.Name, onPurpose)
	case seen == p.path:
		return Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %s is also on volume %s in another container, which would be left out: name another path of that "+
				"volume, too, or %s", seen, m.Name, onPurpose)
	default:
		return Fail(v1alpha1.ReasonInvalidParameters,
			"paths: %s is on volume %s, which would be left out: name it, too, or %s", seen, m.Name, onPurpose)
	}
}

// parent returns the deepest directory of a volume that holds both.
func parent(a, b string) string {
	a = path.Join("/", a)
	for !covers(a, path.Join("/", b)) {
		a = path.Dir(a)
	}
	return a
}

// holdsData reports whether a volume can hold data of the workload.
func (r *Resolver) holdsData(all []Volume, spec *corev1.PodSpec, name string) bool {
	of := slices.IndexFunc(all, func(v Volume) bool { return v.Name == name })
	if of >= 0 && all[of].hostPath == "" {
		return true
	}
	i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	if of >= 0 {
		return canHoldData(spec, &spec.Volumes[i])
	}
	return i >= 0 && !r.VolumeSnapshots && canHoldData(spec, &spec.Volumes[i])
}
