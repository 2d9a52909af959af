package catalog

import (
	"cmp"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/variables"
)

// volumes resolves the volumes of the task and the policy, and the mounts that every container gets.
func (r *resolution) volumes() *v1alpha1.ResolvedError {
	values, err := stepValues(r.task, v1alpha1.TaskStep{}, r.reference, r.builtin)
	if err != nil {
		return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: %v", r.task.Name, r.addon.Name, err)
	}
	if refusal := r.ofTemplate(values); refusal != nil {
		return refusal
	}
	r.shared = slices.Clone(r.task.VolumeMounts)
	if err := values.Object(&r.shared); err != nil {
		return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: volumeMounts%v", r.task.Name,
			r.addon.Name, err)
	}
	if t := r.reference.TargetVolumes; t != nil {
		r.add(t.Volumes, t.VolumeMounts)
	}
	if t := r.info.JobTemplate; t != nil {
		r.add(t.Spec.Volumes, t.Spec.VolumeMounts)
	}
	names := map[string]bool{}
	for _, v := range r.out.Volumes {
		if names[v.Name] {
			return refuse(v1alpha1.ReasonInvalidTask, "task %q of Addon %q: volume %q is defined twice", r.task.Name,
				r.addon.Name, v.Name)
		}
		names[v.Name] = true
	}
	return nil
}

func (r *resolution) add(volumes []v1alpha1.Volume, mounts []corev1.VolumeMount) {
	for _, v := range volumes {
		r.out.Volumes = append(r.out.Volumes,
			PodVolume(v.Name, v1alpha1.TaskVolumeSource{VolumeSource: v.VolumeSource}))
	}
	r.shared = append(r.shared, mounts...)
}

// ofTemplate resolves the task's own volumes. The sources of the policy win; the policy can also set those of scratch
// and work.
func (r *resolution) ofTemplate(values variables.Values) *v1alpha1.ResolvedError {
	sources := map[string]*v1alpha1.TaskVolumeSource{}
	for i := range r.reference.AddonVolumes {
		v := r.reference.AddonVolumes[i].DeepCopy()
		if err := values.Object(v); err != nil {
			return refuse(v1alpha1.ReasonInvalidParameters, "addon.tasks[0].addonVolumes[%d].%v", i, err)
		}
		sources[v.Name] = &v.Source
	}
	for i := range r.task.VolumeTemplate {
		v := r.task.VolumeTemplate[i].DeepCopy()
		v.Usage = ""
		if err := values.Object(v); err != nil {
			return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: volumeTemplate[%d].%v", r.task.Name,
				r.addon.Name, i, err)
		}
		source := cmp.Or(sources[v.Name], v.Source)
		delete(sources, v.Name)
		switch {
		case source == nil:
			return refuse(v1alpha1.ReasonInvalidTask,
				"task %q of Addon %q: the volume %q has no source: give it one in addonVolumes", r.task.Name,
				r.addon.Name, v.Name)
		case reservedVolume(v.Name) && v.Name != variables.ScratchVolume && v.Name != variables.WorkVolume:
			return refuse(v1alpha1.ReasonInvalidTask,
				"task %q of Addon %q: a volume of Cairn has the name %q: choose another", r.task.Name,
				r.addon.Name, v.Name)
		}
		r.out.Volumes = append(r.out.Volumes, PodVolume(v.Name, *source))
	}
	for _, name := range []string{variables.ScratchVolume, variables.WorkVolume} {
		if source := sources[name]; source != nil {
			r.out.Volumes = append(r.out.Volumes, PodVolume(name, *source))
		}
	}
	return nil
}

// checkMounts checks that a container mounts known volumes at free paths.
func (r *resolution) checkMounts(c *corev1.Container, function string) *v1alpha1.ResolvedError {
	names := map[string]bool{variables.ScratchVolume: true}
	for _, v := range r.out.Volumes {
		names[v.Name] = true
	}
	if err := checkMounts(c, names); err != nil {
		return refuse(v1alpha1.ReasonInvalidTask, "task %q of Addon %q: Function %q: %v", r.task.Name, r.addon.Name,
			function, err)
	}
	for _, m := range c.VolumeMounts {
		if why := reservedPath(m.MountPath); why != "" {
			return refuse(v1alpha1.ReasonInvalidTask, "task %q of Addon %q: Function %q: %s", r.task.Name, r.addon.Name,
				function, why)
		}
	}
	return nil
}

// scratch mounts the mover's work volume at the path of the parameter scratchDir, unless the Addon mounts another
// volume there.
func (r *resolution) scratch(c *corev1.Container, values variables.Values) *v1alpha1.ResolvedError {
	dir, _ := values.Value(paramScratchDir)
	wanted, why := scratchMount(r.task, dir)
	if why != "" {
		return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: parameter %q: %s", r.task.Name,
			r.addon.Name, paramScratchDir, why)
	}
	if wanted && !slices.ContainsFunc(c.VolumeMounts,
		func(m corev1.VolumeMount) bool { return path.Clean(m.MountPath) == path.Clean(dir) }) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{
			Name:      variables.WorkVolume,
			MountPath: path.Clean(dir),
		})
	}
	return nil
}

// readOnly mounts volumes that can hold a target's data read-only into the mover of a backup, which never has to write
// to them.
func (r *resolution) readOnly(c *corev1.Container) {
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		at := slices.IndexFunc(r.out.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if at >= 0 && (r.out.Volumes[at].PersistentVolumeClaim != nil || r.out.Volumes[at].HostPath != nil ||
			r.out.Volumes[at].NFS != nil) {
			m.ReadOnly = true
		}
	}
}
