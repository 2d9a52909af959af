package moverjob

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/variables"
)

// Paths and volumes of the container that runs the programs of a database's image.
const (
	binDir       = "/cairn/bin"
	moverProgram = binDir + "/mover"

	binVolume         = "cairn-bin"
	databaseVolume    = "cairn-database"
	programsVolume    = "cairn-programs"
	programWorkVolume = "cairn-program-work"
)

// moverImage returns the image of the mover if the task also runs programs of another image; "" if it does not.
func (b blueprint) moverImage() string {
	if d := b.resolved.Database; d != nil {
		return d.MoverImage
	}
	return b.resolved.MoverImage
}

// hasProgram reports whether the pod has a container for the programs of an image that somebody else chose.
func (b blueprint) hasProgram() bool { return b.moverImage() != "" }

// install returns the container that copies the mover to where the container of the database's image sees it. It sees
// no credential.
func (b blueprint) install() corev1.Container {
	security := restricted()
	security.ReadOnlyRootFilesystem = new(true)
	return corev1.Container{
		Name: "install", Image: b.moverImage(), Args: []string{"install", binDir},
		VolumeMounts: []corev1.VolumeMount{{Name: binVolume, MountPath: binDir}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("32Mi"),
		}},
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          security,
	}
}

// program returns the container that runs the programs of the Function's image for the mover. It is a native sidecar:
// the Job ends with the mover. It sees the Secret of the database, the volumes of the target and those that the task
// brings along, but none of the mover's keys, neither its task nor its token, and no volume that the mover writes to
// but the target's.
func (b blueprint) program() (corev1.Container, error) {
	of := corev1.Container{}
	if b.resolved.Container != nil {
		of = *b.resolved.Container.DeepCopy()
	}
	always := corev1.ContainerRestartPolicyAlways
	c := corev1.Container{
		Name: task.ProgramContainer, Image: b.resolved.Image, RestartPolicy: &always,
		Command: []string{moverProgram}, Args: []string{"programs", task.ProgramSocket},
		VolumeMounts:  b.programMounts(of.VolumeMounts),
		VolumeDevices: of.VolumeDevices,
		// The mover gives each program its environment. Only this decides where programs are found.
		Env:                      slices.DeleteFunc(of.Env, func(e corev1.EnvVar) bool { return e.Name != "PATH" }),
		Resources:                programResources(b.resources(of)),
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	var err error
	c.SecurityContext, err = b.containerSecurity(of.SecurityContext)
	return c, err
}

// programMounts returns the mounts of the program's container. own are those of the Function, the Addon and the policy.
func (b blueprint) programMounts(own []corev1.VolumeMount) []corev1.VolumeMount {
	mounts := []corev1.VolumeMount{
		{Name: binVolume, MountPath: binDir, ReadOnly: true},
		{Name: programsVolume, MountPath: task.ProgramDir},
		{Name: programWorkVolume, MountPath: task.WorkDir},
	}
	if b.resolved.Database != nil {
		mounts = append(mounts, corev1.VolumeMount{Name: databaseVolume, MountPath: task.DatabaseDir, ReadOnly: true})
	}
	for i, v := range b.volumes {
		mounts = append(mounts, v.mount(i, v.readOnly))
	}
	if m := scratchMount(); b.hasScratch() && !b.holdsCache(m) {
		mounts = append(mounts, m)
	}
	for _, m := range own {
		if !b.holdsCache(m) {
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// besideProgram returns the mounts of the Function, the Addon and the policy as a mover sees them that shares them with
// the container of a program: it writes only where nobody else does.
func (b blueprint) besideProgram(own []corev1.VolumeMount) []corev1.VolumeMount {
	out := slices.Clone(own)
	for i := range out {
		out[i].ReadOnly = out[i].ReadOnly || !b.holdsCache(out[i])
	}
	return out
}

// holdsCache reports whether a mount belongs to the mover alone: it is that of its own volume, or holds the directory
// of its cache.
func (b blueprint) holdsCache(m corev1.VolumeMount) bool {
	if m.Name == variables.WorkVolume {
		return true
	}
	for _, arg := range b.resolved.Args {
		if dir, is := strings.CutPrefix(arg, "--scratch-dir="); is && dir != "" {
			at, dir := path.Clean(m.MountPath), path.Clean(dir)
			return dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")
		}
	}
	return false
}

// programResources returns the resources of a program's container beside a mover with these: the same limits, and only
// small requests of its own, because the mover's count for both.
func programResources(of corev1.ResourceRequirements) corev1.ResourceRequirements {
	var out corev1.ResourceRequirements
	for name, limit := range of.Limits {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			if out.Limits == nil {
				out.Limits = corev1.ResourceList{}
			}
			out.Limits[name] = limit.DeepCopy()
		}
	}
	out = withRequests(out)
	if _, limited := out.Limits[corev1.ResourceEphemeralStorage]; limited {
		out.Requests[corev1.ResourceEphemeralStorage] = resource.Quantity{} // else the API server takes the limit
	}
	return out
}

// sharedIdentity refuses an image that somebody else chose beside a storage without a Secret: the mover uses the
// identity that the cloud gives the pod, and every container of the pod has it.
func (b blueprint) sharedIdentity() error {
	secret := policy.SecretOf(b.task.Storage.Spec)
	if b.privileged || secret.Field == "" || secret.Name != "" || !cloud(b.task.Storage.Spec.Provider) {
		return nil
	}
	images := []string{}
	if b.hasProgram() {
		images = append(images, b.resolved.Image)
	}
	for _, s := range b.resolved.Steps {
		if image := s.Container.Image; image != b.resolved.Image && image != b.moverImage() {
			images = append(images, image)
		}
	}
	if len(images) == 0 {
		return nil
	}
	return fmt.Errorf("image %s in the pod of a mover for the storage %s/%s, which has the identity of the pod "+
		"because %s is not set, %w. Set %s to the name of a Secret, or see who may choose that image",
		images[0], b.task.Storage.Namespace, b.task.Storage.Name, secret.Field, ErrPrivilegeRequired, secret.Field)
}

// cloud reports whether a provider can give pods an identity.
func cloud(p v1alpha1.StorageProvider) bool {
	return p == v1alpha1.ProviderS3 || p == v1alpha1.ProviderGCS || p == v1alpha1.ProviderAzure
}
