package task

import (
	"fmt"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// terminationGrace is how long a mover that is told to stop has to save what it did, in seconds.
const terminationGrace int64 = 45

// Credentials names the Secrets, in the Job's namespace, that a mover reads.
type Credentials struct {
	// StorageSecret holds the provider's keys. Empty for a local storage.
	StorageSecret string
	// EncryptionSecret holds the repository's password. Empty for a storage's init Job.
	EncryptionSecret string
}

// blueprint is what all movers' Jobs are made of.
type blueprint struct {
	name, namespace string
	labels          map[string]string
	owner           metav1.OwnerReference
	image           string
	args            []string
	task            Task
	credentials     Credentials
	timeout         time.Duration
	template        *v1alpha1.JobPodSpec
	security        v1alpha1.MoverSecurityContext
	privileged      bool
	node            string
	volumes         []volume
	// rootCapabilities are added when the mover runs as root.
	rootCapabilities []corev1.Capability
	// storageGroup gives the volume of a local storage to DefaultUser's group. Only where no other volume is mounted: the
	// kubelet changes the owners of all of them.
	storageGroup bool
}

// job puts the Job together.
func (b blueprint) job() (*batchv1.Job, error) {
	text, err := Encode(b.task)
	if err != nil {
		return nil, err
	}
	pod, err := b.pod()
	if err != nil {
		return nil, fmt.Errorf("build job %s: %w", b.name, err)
	}
	labels := maps.Clone(b.labels)
	labels[v1alpha1.LabelManagedBy] = v1alpha1.ManagedByCairn
	failed := batchv1.Failed
	job := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: b.name, Namespace: b.namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{b.owner},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit:         new(int32(0)),
			PodReplacementPolicy: &failed,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      maps.Clone(labels),
					Annotations: map[string]string{v1alpha1.AnnotationTask: text},
				},
				Spec: pod,
			},
		},
	}
	if b.timeout > 0 {
		job.Spec.ActiveDeadlineSeconds = new(max(1, int64(b.timeout/time.Second)))
	}
	return job, nil
}

// pod is the Job's pod, within the restricted Pod Security profile unless the namespace allows more.
func (b blueprint) pod() (corev1.PodSpec, error) {
	security, container, err := b.securityContexts()
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
		ServiceAccountName:            v1alpha1.MoverServiceAccount,
		AutomountServiceAccountToken:  new(true),
		EnableServiceLinks:            new(false),
		SecurityContext:               security,
		Volumes:                       volumes,
		Containers: []corev1.Container{{
			Name:  Container,
			Image: b.image,
			Args:  b.args,
			Env: []corev1.EnvVar{
				{Name: "HOME", Value: WorkDir},
				{Name: "TMPDIR", Value: WorkDir},
			},
			Resources:                b.resources(),
			VolumeMounts:             mounts,
			SecurityContext:          container,
			TerminationMessagePath:   corev1.TerminationMessagePathDefault,
			TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		}},
	}
	if b.template != nil {
		pod.NodeSelector = maps.Clone(b.template.NodeSelector)
		pod.Tolerations = append(pod.Tolerations, b.template.Tolerations...)
	}
	if b.node != "" {
		pod.Affinity = onNode(b.node)
	}
	return pod, nil
}

// onNode lets the scheduler place the pod on one node: nodeName would go around it, and around the binding of volumes.
func onNode(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}},
	}}
}

// resources are those of the policy; what it does not ask for has a small default request.
func (b blueprint) resources() corev1.ResourceRequirements {
	var out corev1.ResourceRequirements
	if b.template != nil {
		out = *b.template.Resources.DeepCopy()
	}
	defaults := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("128Mi")}
	for name, quantity := range defaults {
		if _, asked := out.Requests[name]; asked {
			continue
		}
		if limit, limited := out.Limits[name]; limited && limit.Cmp(quantity) < 0 {
			quantity = limit
		}
		if out.Requests == nil {
			out.Requests = corev1.ResourceList{}
		}
		out.Requests[name] = quantity
	}
	return out
}

// controllerOf makes an object of our API the owner and controller of a Job.
func controllerOf(kind string, o metav1.Object) metav1.OwnerReference {
	return *metav1.NewControllerRef(o, v1alpha1.GroupVersion.WithKind(kind))
}
