package catalog

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/variables"
)

// ownEnvironment lists the environment variables of a container that Cairn sets.
var ownEnvironment = []string{"HOME", "TMPDIR", "COMPONENT_NAME"}

// variableMistakes finds variables that a policy is not allowed to set.
func variableMistakes(field string, reference *v1alpha1.TaskReference) []policy.Mistake {
	var mistakes []policy.Mistake
	for i, v := range reference.Variables {
		at := fmt.Sprintf("%s[%d].name", field, i)
		switch {
		case variables.IsFixed(v.Name):
			mistakes = append(mistakes,
				invalidParameter(at, "the variable %q decides which mover runs: nobody can set it", v.Name))
		case slices.Contains(ownEnvironment, v.Name):
			mistakes = append(mistakes,
				invalidParameter(at, "Cairn sets the environment variable %q itself: use another name", v.Name))
		case v.Value != "" && v.ValueFrom != nil:
			mistakes = append(mistakes,
				invalidParameter(at, "the variable %q has both value and valueFrom: leave one out", v.Name))
		}
	}
	return mistakes
}

// podMistakes finds environment variables, volumes and mounts of the pod that belong to Cairn.
func podMistakes(field string, info *v1alpha1.AddonInfo) []policy.Mistake {
	var mistakes []policy.Mistake
	check := func(field string, env []corev1.EnvVar) {
		for i, e := range env {
			if slices.Contains(ownEnvironment, e.Name) {
				mistakes = append(mistakes, invalidParameter(fmt.Sprintf("%s[%d].name", field, i),
					"Cairn sets the environment variable %q itself: use another name", e.Name))
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

// taskVolumeMistakes checks the volumes of a policy: their names must be free, and their mounts must not touch those of
// Cairn.
func taskVolumeMistakes(field string, task *v1alpha1.Task, reference *v1alpha1.TaskReference) []policy.Mistake {
	var mistakes []policy.Mistake
	known := []string{"${INTERIM_VOLUME}", "${RESTIC_CACHE_VOLUME}", variables.ScratchVolume, variables.WorkVolume}
	for _, t := range task.VolumeTemplate {
		known = append(known, t.Name)
	}
	for i, v := range reference.AddonVolumes {
		if !slices.Contains(known, v.Name) {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.addonVolumes[%d].name", field, i),
				"the task %q has no volume %q; it has %s", task.Name, v.Name, policy.Join(slices.Concat(known[:2],
					known[4:]))))
		}
	}
	if t := reference.TargetVolumes; t != nil {
		mistakes = append(mistakes, volumeMistakes(field+".targetVolumes", t.Volumes, t.VolumeMounts)...)
	}
	return mistakes
}

// volumeMistakes checks volumes and their mounts.
func volumeMistakes(field string, volumes []v1alpha1.Volume, mounts []corev1.VolumeMount) []policy.Mistake {
	var mistakes []policy.Mistake
	for i, v := range volumes {
		if reservedVolume(v.Name) {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumes[%d].name", field, i),
				"a volume of Cairn has the name %q: choose another", v.Name))
		}
	}
	for i, m := range mounts {
		if !slices.ContainsFunc(volumes, func(v v1alpha1.Volume) bool { return v.Name == m.Name }) {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumeMounts[%d].name", field, i),
				"there is no volume %q in volumes beside it", m.Name))
		}
		if why := reservedPath(m.MountPath); why != "" {
			mistakes = append(mistakes, invalidTask(fmt.Sprintf("%s.volumeMounts[%d].mountPath", field, i), "%s", why))
		}
	}
	return mistakes
}

// reservedVolume reports whether only Cairn gives volumes of a pod this name.
func reservedVolume(name string) bool {
	switch name {
	case "task", "token", "credentials", "encryption", "storage", "cairn-database", "cairn-bin", "cairn-programs",
		"cairn-program-work", variables.ScratchVolume, variables.WorkVolume:
		return true
	}
	return strings.HasPrefix(name, "component-")
}

// ownPaths lists where Cairn mounts its own volumes into the container of a mover.
var ownPaths = []string{"/cairn", task.MoverWorkDir, "/var/run/secrets", "/run/secrets"}

// CollidesWithMounts reports whether a volume mounted at a path would cover one of Cairn's mounts or lie in it.
func CollidesWithMounts(p string) bool {
	return reservedPath(p) != "" ||
		slices.ContainsFunc(ownPaths, func(own string) bool { return within(own, path.Clean(p)) })
}

// reservedPath explains why a user's volume cannot be mounted at a path; "" if it can.
func reservedPath(p string) string {
	clean := path.Clean(p)
	for _, own := range ownPaths {
		if within(clean, own) {
			return fmt.Sprintf("mountPath %s lies in %s, which Cairn uses: choose another", p, own)
		}
	}
	if clean == "/" || !path.IsAbs(clean) {
		return fmt.Sprintf("mountPath %s is not a directory below /", p)
	}
	return ""
}

func invalidParameter(field, format string, args ...any) policy.Mistake {
	return policy.Mistake{Field: field, Reason: v1alpha1.ReasonInvalidParameters, Message: fmt.Sprintf(format, args...)}
}

func invalidTask(field, format string, args ...any) policy.Mistake {
	return policy.Mistake{Field: field, Reason: v1alpha1.ReasonInvalidTask, Message: fmt.Sprintf(format, args...)}
}
