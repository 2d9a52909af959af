package variables

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// FunctionContainer returns a Function's container with all variables filled in. It has the Function's own settings and
// no name.
func FunctionContainer(f *v1alpha1.Function, values Values) (corev1.Container, error) {
	fail := func(err error) (corev1.Container, error) {
		return corev1.Container{}, fmt.Errorf("Function %q: %w", f.Name, err)
	}
	spec := f.Spec.DeepCopy()
	if len(spec.AvailableVersions) > 0 {
		if version, known := values.Value("DB_VERSION"); known {
			picked, err := PickVersion(version, spec.AvailableVersions)
			if err != nil {
				return fail(err)
			}
			values = values.With(map[string]string{"DB_VERSION": picked})
		}
	}
	c := corev1.Container{
		Image: spec.Image, Command: spec.Command, Args: spec.Args, WorkingDir: spec.WorkingDir, Ports: spec.Ports,
		VolumeMounts: spec.VolumeMounts, VolumeDevices: spec.VolumeDevices,
	}
	if s := spec.RuntimeSettings; s != nil {
		c.Resources, c.SecurityContext, c.Env, c.EnvFrom = s.Resources, s.SecurityContext, s.Env, s.EnvFrom
	}
	if err := values.Container(&c); err != nil {
		return fail(err)
	}
	if c.Image == "" {
		return fail(fmt.Errorf("image %q is empty", f.Spec.Image))
	}
	return c, nil
}
