package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/variables"
)

// ownEnvironment are the variables of a container's environment that Cairn sets.
var ownEnvironment = []string{"HOME", "TMPDIR", "COMPONENT_NAME"}

// variableMistakes finds variables that a policy may not set.
func variableMistakes(field string, reference *v1alpha1.TaskReference) []Mistake {
	var mistakes []Mistake
	for i, v := range reference.Variables {
		at := fmt.Sprintf("%s[%d].name", field, i)
		switch {
		case variables.Fixed(v.Name):
			mistakes = append(mistakes, invalidParameter(at, "the variable %q says which mover runs: nobody may set it", v.Name))
		case slices.Contains(ownEnvironment, v.Name):
			mistakes = append(mistakes, invalidParameter(at, "the variable %q of the environment is Cairn's: give yours another name", v.Name))
		case v.Value != "" && v.ValueFrom != nil:
			mistakes = append(mistakes, invalidParameter(at, "the variable %q has both value and valueFrom: leave one out", v.Name))
		}
	}
	return mistakes
}

// podMistakes finds variables of the environment, volumes and mounts of the pod that are Cairn's.
func podMistakes(field string, info *v1alpha1.AddonInfo) []Mistake {
	var mistakes []Mistake
	check := func(field string, env []corev1.EnvVar) {
		for i, e := range env {
			if slices.Contains(ownEnvironment, e.Name) {
				mistakes = append(mistakes, invalidParameter(fmt.Sprintf("%s[%d].name", field, i), "the variable %q of the environment is Cairn's: give yours another name", e.Name))
			}
		}
	}
	if s := info.ContainerRuntimeSettings; s != nil {
		check(field+".containerRuntimeSettings.env", s.Env)
	}
	if info.JobTemplate != nil {
		spec := &info.JobTemplate.Spec
		check(field+".jobTemplate.spec.env", spec.Env)
		mistakes = append(mistakes, volumeMistakes(field+".jobTemplate.spec", spec.Volumes, spec.VolumeMounts)...)
	}
	return mistakes
}

// taskVolumeMistakes checks the volumes that a policy brings along: names that are free, and mounts where nothing of Cairn is.
func taskVolumeMistakes(field string, task *v1alpha1.Task, reference *v1alpha1.TaskReference) []Mistake {
	var mistakes []Mistake
	known := []string{"${INTERIM_VOLUME}", "${RESTIC_CACHE_VOLUME}", variables.ScratchVolume, variables.WorkVolume}
	for _, t := range task.VolumeTemplate {
		known = append(known, t.Name)
	}
	for i, v := range reference.AddonVolumes {
		if !slices.Contains(known, v.Name) {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.addonVolumes[%d].name", field, i),
				"the task %q has no volume %q; it has %s", task.Name, v.Name, join(slices.Concat(known[:2], known[4:]))))
		}
	}
	if t := reference.TargetVolumes; t != nil {
		mistakes = append(mistakes, volumeMistakes(field+".targetVolumes", t.Volumes, t.VolumeMounts)...)
	}
	return mistakes
}

// volumeMistakes checks volumes and where they are mounted.
func volumeMistakes(field string, volumes []v1alpha1.Volume, mounts []corev1.VolumeMount) []Mistake {
	var mistakes []Mistake
	for i, v := range volumes {
		if ReservedVolume(v.Name) {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumes[%d].name", field, i), "the name %q is that of a volume of Cairn's: choose another", v.Name))
		}
	}
	for i, m := range mounts {
		if !slices.ContainsFunc(volumes, func(v v1alpha1.Volume) bool { return v.Name == m.Name }) {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumeMounts[%d].name", field, i), "there is no volume %q in volumes beside it", m.Name))
		}
		if why := ReservedPath(m.MountPath); why != "" {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumeMounts[%d].mountPath", field, i), "%s", why))
		}
	}
	return mistakes
}

// ReservedVolume says whether a volume of a pod has a name that only Cairn gives.
func ReservedVolume(name string) bool {
	switch name {
	case "task", "token", "credentials", "encryption", "storage", "cairn-database", "cairn-bin", variables.ScratchVolume, variables.WorkVolume:
		return true
	}
	return strings.HasPrefix(name, "component-")
}

// ownPaths are where Cairn mounts its own into the container of a mover.
var ownPaths = []string{"/cairn", MoverWorkDir, "/var/run/secrets", "/run/secrets"}

// Collides says whether a volume that is mounted at a path would cover something of Cairn's own, or lie in it.
func Collides(p string) bool {
	return ReservedPath(p) != "" || slices.ContainsFunc(ownPaths, func(own string) bool { return within(own, path.Clean(p)) })
}

// ReservedPath says why nothing of a user may be mounted at a path, or "".
func ReservedPath(p string) string {
	clean := path.Clean(p)
	for _, own := range ownPaths {
		if within(clean, own) {
			return fmt.Sprintf("mountPath %s lies in %s, where Cairn mounts its own: choose another", p, own)
		}
	}
	if clean == "/" || !path.IsAbs(clean) {
		return fmt.Sprintf("mountPath %s is not a directory below /", p)
	}
	return ""
}

func invalidParameter(field, format string, args ...any) Mistake {
	return Mistake{Field: field, Reason: v1alpha1.ReasonInvalidParameters, Message: fmt.Sprintf(format, args...)}
}

func invalidTask(field, format string, args ...any) Mistake {
	return Mistake{Field: field, Reason: v1alpha1.ReasonInvalidTask, Message: fmt.Sprintf(format, args...)}
}
