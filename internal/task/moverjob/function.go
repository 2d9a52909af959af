package moverjob

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/variables"
)

// FunctionContainerName is the name of the container of a FunctionJob.
const FunctionContainerName = "function"

// FunctionJobInput is the input for a Job of one Function.
type FunctionJobInput struct {
	// Name and Namespace of the Job.
	Name, Namespace string
	// Labels of Job and pod. FunctionJob adds the label that marks objects of Cairn.
	Labels map[string]string
	// Owner of the Job, with which it is deleted.
	Owner metav1.OwnerReference
	// Function that runs.
	Function *v1alpha1.Function
	// Values of the variables that the Function names: variables.New(...).With(params).WithEnv(variables).
	Values variables.Values
	// Env overrides the Function's own environment, Variables overrides that of Settings.
	Env, Variables []corev1.EnvVar
	// Volumes of the pod, and VolumeMounts of the container in addition to the Function's own.
	Volumes      []v1alpha1.Volume
	VolumeMounts []corev1.VolumeMount
	// Settings of the container, which override the Function's own and Env; nil for none.
	Settings *v1alpha1.ContainerRuntimeSettings
	// Pod settings; nil for none.
	Pod *v1alpha1.PodRuntimeSettings
	// Timeout of the Job; 0 for none.
	Timeout time.Duration
	// Privileged reports whether the Namespace allows more than the restricted Pod Security profile.
	Privileged bool
}

// FunctionJob builds the Job of one Function that moves no data, such as a hook. Its pod sees no credential of Cairn
// and no token for the API server. It runs once, within the restricted Pod Security profile, and as DefaultUser unless
// the Function or the input names another user. Like a step of a task, it has the scratch volume. It fails with
// ErrPrivilegeRequired if the input needs rights that the namespace does not grant, and with another error if a
// variable is unknown; neither goes away by itself. Observe returns the state of the Job.
func FunctionJob(in FunctionJobInput) (*batchv1.Job, error) {
	fail := func(err error) (*batchv1.Job, error) { return nil, fmt.Errorf("build Job %s: %w", in.Name, err) }
	c, err := variables.FunctionContainer(in.Function, in.Values)
	if err != nil {
		return fail(err)
	}
	runtime := &v1alpha1.RuntimeSettings{Pod: in.Pod}
	security, err := functionSecurity(in.Pod, in.Privileged)
	if err != nil {
		return fail(err)
	}
	if err := in.complete(&c); err != nil {
		return fail(err)
	}
	pod := corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever,
		AutomountServiceAccountToken: new(false),
		EnableServiceLinks:           new(false),
		SecurityContext:              security,
		Containers:                   []corev1.Container{c},
		Volumes: []corev1.Volume{
			{
				Name:         variables.ScratchVolume,
				VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
			},
		},
	}
	for _, v := range in.Volumes {
		pod.Volumes = append(pod.Volumes,
			catalog.PodVolume(v.Name, v1alpha1.TaskVolumeSource{VolumeSource: v.VolumeSource}))
	}
	if err := applyJobTemplate(&pod, podOf(runtime), in.Privileged); err != nil {
		return fail(err)
	}
	if node := nodeOf(runtime); node != "" {
		pod.Affinity = onNode(pod.Affinity, node)
	}
	if err := cmp.Or(privilegedVolumes(pod.Volumes, in.Privileged), catalog.CheckVolumes(&pod)); err != nil {
		return fail(err)
	}
	job := jobOf(in.Name, in.Namespace, in.Labels, in.Owner, pod, in.Timeout)
	if p := in.Pod; p != nil {
		if what := unconfined(p.PodAnnotations); what != "" && !in.Privileged {
			return fail(fmt.Errorf("annotation %s %w", what, ErrPrivilegeRequired))
		}
		template := &job.Spec.Template
		template.Labels, template.Annotations = labelled(template.Labels, p.PodLabels), maps.Clone(p.PodAnnotations)
	}
	return job, nil
}

// complete adds what the input asks for to the container of the Function.
func (in *FunctionJobInput) complete(c *corev1.Container) error {
	own := c.SecurityContext
	c.Name = FunctionContainerName
	c.Env = catalog.MergedEnv(c.Env, in.Env)
	var asked *corev1.SecurityContext
	if in.Settings != nil {
		asked = in.Settings.SecurityContext
		c.Resources = catalog.MergedResources(c.Resources, in.Settings.Resources)
		c.Env, c.EnvFrom = catalog.MergedEnv(c.Env, in.Settings.Env), slices.Concat(c.EnvFrom, in.Settings.EnvFrom)
	}
	c.Env = catalog.MergedEnv(c.Env, in.Variables)
	c.Resources = withRequests(c.Resources)
	c.VolumeMounts = slices.Concat(withScratch(c.VolumeMounts, in.VolumeMounts), c.VolumeMounts, in.VolumeMounts)
	// By default the end of the log explains a failure; a termination message replaces it.
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	var err error
	c.SecurityContext, err = allowed(in.Privileged, restricted(), own, asked)
	return err
}

// withScratch returns the mount of the scratch volume, unless another volume is mounted at its path.
func withScratch(mounts ...[]corev1.VolumeMount) []corev1.VolumeMount {
	for _, m := range slices.Concat(mounts...) {
		if path.Clean(m.MountPath) == variables.ScratchDir {
			return nil
		}
	}
	return []corev1.VolumeMount{{Name: variables.ScratchVolume, MountPath: variables.ScratchDir}}
}

// functionSecurity returns the security context of the pod, like that of a task's step: its user is DefaultUser unless
// the settings name another.
func functionSecurity(p *v1alpha1.PodRuntimeSettings, privileged bool) (*corev1.PodSecurityContext, error) {
	var asked v1alpha1.MoverSecurityContext
	if p != nil && p.SecurityContext != nil {
		asked = *p.SecurityContext.DeepCopy()
	}
	return blueprint{security: asked, privileged: privileged}.podSecurity()
}

// jobOf returns a Job that runs once.
func jobOf(
	name, namespace string, labels map[string]string, owner metav1.OwnerReference, pod corev1.PodSpec,
	timeout time.Duration,
) *batchv1.Job {
	own := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	failed := batchv1.Failed
	job := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, Labels: labelled(own, labels),
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit:         new(int32(0)),
			PodReplacementPolicy: &failed,
			PodFailurePolicy:     tellDisruption(),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labelled(own, labels)},
				Spec:       pod,
			},
		},
	}
	if timeout > 0 {
		job.Spec.ActiveDeadlineSeconds = new(max(1, int64(timeout/time.Second)))
	}
	return job
}

// tellDisruption lets a Job say in its own condition that its pod was evicted or preempted, or lost its node: the pod
// itself can be gone before the manager looks. The Job fails with its first pod in any case.
func tellDisruption() *batchv1.PodFailurePolicy {
	return &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionFailJob,
		OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
		},
	}}}
}
