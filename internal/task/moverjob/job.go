// Package moverjob builds the Jobs of movers, of Functions and of the keeper. It is pure: everything that a Job needs
// is in the input, and equal inputs give equal Jobs.
package moverjob

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/variables"
)

// terminationGrace is how many seconds a mover has to save its work after it is asked to stop.
const terminationGrace int64 = 45

// Credentials names the Secrets in the Job's namespace that a mover reads.
type Credentials struct {
	// StorageSecret holds the provider's keys; empty for a local storage.
	StorageSecret string
	// EncryptionSecret holds the repository's password; empty for a storage's init Job.
	EncryptionSecret string
}

// blueprint is what the Jobs of all movers are built from.
type blueprint struct {
	name, namespace string
	labels          map[string]string
	// annotations of the Job, but not of its pod.
	annotations map[string]string
	owner       metav1.OwnerReference
	// account that the pod runs as; empty means v1alpha1.MoverServiceAccount.
	account string
	// resolved task; an init Job sets only image and args.
	resolved    v1alpha1.ResolvedTask
	task        task.Task
	credentials Credentials
	timeout     time.Duration
	security    v1alpha1.MoverSecurityContext
	privileged  bool
	node        string
	volumes     []volume
	// beside means that the Job's pod must share a node with the pods that have the same LabelReads. With near, it
	// shares one if it can: the node of the other pods may be lost.
	beside, near bool
	// passwords names the Secrets with the passwords of a keeper's repositories.
	passwords []string
	// rootCapabilities are added if the mover runs as root.
	rootCapabilities []corev1.Capability
	// storageGroup gives the volume of a local storage to DefaultUser's group. It is set only if no other volume is
	// mounted, because the kubelet changes the owners of all of them.
	storageGroup bool
	// targetGroup gives the empty target volumes to the mover's group.
	targetGroup bool
}

// job builds the Job.
func (b blueprint) job() (*batchv1.Job, error) {
	text, err := task.Encode(b.task)
	if err != nil {
		return nil, err
	}
	pod, err := b.pod()
	if err != nil {
		return nil, fmt.Errorf("build Job %s: %w", b.name, err)
	}
	job := jobOf(b.name, b.namespace, b.labels, b.owner, pod, b.timeout)
	template := &job.Spec.Template
	if m := b.resolved.JobMetadata; m != nil {
		job.Labels, job.Annotations = labelled(job.Labels, m.Labels), maps.Clone(m.Annotations)
	}
	if job.Annotations == nil && b.annotations != nil {
		job.Annotations = map[string]string{}
	}
	maps.Copy(job.Annotations, b.annotations)
	if m := b.resolved.PodMetadata; m != nil {
		if what := unconfined(m.Annotations); what != "" && !b.privileged {
			return nil, fmt.Errorf("build Job %s: annotation %s %w", b.name, what, ErrPrivilegeRequired)
		}
		template.Labels, template.Annotations = labelled(template.Labels, m.Labels), maps.Clone(m.Annotations)
	}
	if template.Annotations == nil {
		template.Annotations = map[string]string{}
	}
	template.Annotations[v1alpha1.AnnotationTask] = text
	return job, nil
}

// pod returns the Job's pod, within the restricted Pod Security profile unless the namespace allows more.
func (b blueprint) pod() (corev1.PodSpec, error) {
	security, err := b.podSecurity()
	if err != nil {
		return corev1.PodSpec{}, err
	}
	volumes, mounts, err := b.mounts()
	if err != nil {
		return corev1.PodSpec{}, err
	}
	pod := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		TerminationGracePeriodSeconds: new(terminationGrace),
		ServiceAccountName:            cmp.Or(b.account, v1alpha1.MoverServiceAccount),
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		SecurityContext:               security,
		Volumes:                       volumes,
	}
	if err := applyJobTemplate(&pod, b.resolved.Job, b.privileged); err != nil {
		return corev1.PodSpec{}, err
	}
	if b.node != "" {
		pod.Affinity = onNode(pod.Affinity, b.node)
	}
	if b.beside {
		pod.Affinity = besideReaders(pod.Affinity, b.labels[v1alpha1.LabelReads], b.near)
	}
	if d := b.resolved.Database; d != nil {
		pod.ImagePullSecrets = withPullSecrets(pod.ImagePullSecrets, d.ImagePullSecrets)
	}
	return pod, b.containers(&pod, mounts)
}

// containers adds the containers to the pod: the steps of the task, one after the other, then the mover, and beside it
// the programs that it runs.
func (b blueprint) containers(pod *corev1.PodSpec, mounts []corev1.VolumeMount) error {
	if err := b.sharedIdentity(); err != nil {
		return err
	}
	if b.hasProgram() {
		pod.InitContainers = append(pod.InitContainers, b.install())
	}
	for _, s := range b.resolved.Steps {
		c, err := b.step(s)
		if err != nil {
			return fmt.Errorf("step %s: %w", s.Container.Name, err)
		}
		pod.InitContainers = append(pod.InitContainers, c)
	}
	if b.hasProgram() {
		c, err := b.program()
		if err != nil {
			return err
		}
		pod.InitContainers = append(pod.InitContainers, c)
	}
	mover, err := b.mover(mounts)
	if err != nil {
		return err
	}
	pod.Containers = []corev1.Container{mover}
	return nil
}

// mover returns the container whose result counts. Only this container sees the credentials and the token.
func (b blueprint) mover(mounts []corev1.VolumeMount) (corev1.Container, error) {
	c := corev1.Container{}
	if b.resolved.Container != nil {
		c = *b.resolved.Container.DeepCopy()
	}
	c.Name, c.Image, c.Args = task.Container, b.resolved.Image, b.resolved.Args
	if b.hasProgram() { // What the Function says about its own image does not hold for that of the mover.
		c.Image, c.Command, c.WorkingDir, c.Ports, c.VolumeDevices = b.moverImage(), nil, "", nil, nil
		c.VolumeMounts = b.besideProgram(c.VolumeMounts)
	}
	own := append([]corev1.EnvVar{{Name: "HOME", Value: task.WorkDir}, {Name: "TMPDIR", Value: task.WorkDir}},
		b.components()...)
	if b.account == v1alpha1.SnapshotterServiceAccount || b.task.Kind == task.KindKeep {
		own = append(own, corev1.EnvVar{Name: task.EnvJob, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{
				APIVersion: "v1", FieldPath: "metadata.labels['" + batchv1.JobNameLabel + "']",
			},
		}})
	}
	c.Env = catalog.MergedEnv(c.Env, own)
	c.Resources = withRequests(b.resources(c))
	c.VolumeMounts = append(mounts, c.VolumeMounts...)
	for i, v := range b.volumes {
		if v.block {
			c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{
				Name:       volumeName(i),
				DevicePath: path.Join(task.VolumesDir, v.component),
			})
		}
	}
	c.TerminationMessagePath = corev1.TerminationMessagePathDefault
	c.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	var err error
	c.SecurityContext, err = b.containerSecurity(c.SecurityContext)
	return c, err
}

// resources returns the resources that the policy and the Function set for the mover.
func (b blueprint) resources(c corev1.Container) corev1.ResourceRequirements {
	if b.resolved.Job == nil {
		return c.Resources
	}
	return catalog.MergedResources(b.resolved.Job.Resources, c.Resources)
}

// containerSecurity returns the security context of the mover, and of the programs that it runs: both read or write the
// volumes of the target.
func (b blueprint) containerSecurity(asked *corev1.SecurityContext) (*corev1.SecurityContext, error) {
	base := restricted()
	base.ReadOnlyRootFilesystem = new(true)
	if b.user(asked) == 0 {
		base.Capabilities.Add = b.rootCapabilities
	}
	return allowed(b.privileged, base, asked)
}

// user returns the user that a container runs as.
func (b blueprint) user(c *corev1.SecurityContext) int64 {
	switch {
	case c != nil && c.RunAsUser != nil:
		return *c.RunAsUser
	case b.security.RunAsUser != nil:
		return *b.security.RunAsUser
	}
	return DefaultUser
}

// components returns the variable that tells a container which components it works on.
func (b blueprint) components() []corev1.EnvVar {
	if len(b.task.Components) == 0 {
		return nil
	}
	names := make([]string, len(b.task.Components))
	for i, c := range b.task.Components {
		names[i] = c.Name
	}
	return []corev1.EnvVar{{Name: "COMPONENT_NAME", Value: strings.Join(names, ",")}}
}

// step returns a container that runs before the mover. It sees the target's volumes with the access that the task sets,
// and the scratch volume.
func (b blueprint) step(s v1alpha1.ResolvedStep) (corev1.Container, error) {
	c := *s.Container.DeepCopy()
	c.Env = catalog.MergedEnv(c.Env, b.components())
	c.Resources = withRequests(c.Resources)
	mounts := []corev1.VolumeMount{{Name: variables.ScratchVolume, MountPath: variables.ScratchDir}}
	if s.TargetAccess != v1alpha1.TargetAccessNone {
		for i, v := range b.volumes {
			mounts = append(mounts, v.mount(i, s.TargetAccess == v1alpha1.TargetAccessReadOnly))
		}
	}
	c.VolumeMounts = append(mounts, c.VolumeMounts...)
	c.TerminationMessagePath = corev1.TerminationMessagePathDefault
	c.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	var err error
	c.SecurityContext, err = allowed(b.privileged, restricted(), c.SecurityContext)
	return c, err
}

// onNode restricts the pod to one node through the scheduler: nodeName would bypass the scheduler and the binding of
// volumes. It replaces the node affinity that was asked for, because no other node qualifies, and keeps the pod
// affinity.
func onNode(asked *corev1.Affinity, node string) *corev1.Affinity {
	out := asked.DeepCopy()
	if out == nil {
		out = &corev1.Affinity{}
	}
	out.NodeAffinity = &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{
					{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
				},
			}},
		},
	}
	return out
}

// besideReaders places the pod on the node of the other pods that read the same volume; the first one can run on any
// node. With near, it can run on another node if that one takes no pod.
func besideReaders(asked *corev1.Affinity, reads string, near bool) *corev1.Affinity {
	out := asked.DeepCopy()
	if out == nil {
		out = &corev1.Affinity{}
	}
	if out.PodAffinity == nil {
		out.PodAffinity = &corev1.PodAffinity{}
	}
	term := corev1.PodAffinityTerm{
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelReads: reads}},
		TopologyKey:   corev1.LabelHostname,
	}
	required := &out.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	preferred := &out.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if near {
		*preferred = append(*preferred, corev1.WeightedPodAffinityTerm{Weight: 100, PodAffinityTerm: term})
	} else {
		*required = append(*required, term)
	}
	return out
}

// controllerOf returns an owner reference that makes an object of our API the controller of a Job.
func controllerOf(kind string, o metav1.Object) metav1.OwnerReference {
	return *metav1.NewControllerRef(o, v1alpha1.GroupVersion.WithKind(kind))
}
