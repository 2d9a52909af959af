package task

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ErrPrivilegeRequired means that a Job would run as root or mount a host path in a namespace that does not allow it.
var ErrPrivilegeRequired = errors.New("needs the annotation " + v1alpha1.AnnotationPrivilegedMovers + `: "true" on the Namespace`)

// DefaultUser is the user and group that movers run as where neither the target's pod nor policy says otherwise. It is
// also the group that a local storage belongs to.
const DefaultUser int64 = 65532

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

// volume of the target, mounted at VolumesDir/<component>.
type volume struct {
	component, claim, hostPath string
	readOnly                   bool
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

// securityContexts of pod and container.
func (b blueprint) securityContexts() (*corev1.PodSecurityContext, *corev1.SecurityContext, error) {
	user := DefaultUser
	if b.security.RunAsUser != nil {
		user = *b.security.RunAsUser
	}
	group := user
	if b.security.RunAsGroup != nil {
		group = *b.security.RunAsGroup
	}
	if user == 0 && !b.privileged {
		return nil, nil, fmt.Errorf("runAsUser 0 %w", ErrPrivilegeRequired)
	}
	pod := &corev1.PodSecurityContext{
		RunAsUser: &user, RunAsGroup: &group,
		RunAsNonRoot:       new(user != 0),
		SupplementalGroups: b.security.SupplementalGroups,
		SELinuxOptions:     b.security.SELinuxOptions,
		SeccompProfile:     &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if local := b.task.Storage.Spec.Local; local != nil {
		if b.storageGroup {
			policy := corev1.FSGroupChangeOnRootMismatch
			pod.FSGroup, pod.FSGroupChangePolicy = new(DefaultUser), &policy
		} else {
			pod.SupplementalGroups = withGroup(pod.SupplementalGroups, DefaultUser)
		}
	}
	container := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if user == 0 {
		container.Capabilities.Add = b.rootCapabilities
	}
	return pod, container, nil
}

// withGroup adds group where it is missing, in a new slice.
func withGroup(groups []int64, group int64) []int64 {
	out := make([]int64, 0, len(groups)+1)
	for _, g := range groups {
		if g == group {
			return groups
		}
		out = append(out, g)
	}
	return append(out, group)
}

// mounts are the volumes of the pod and where its container sees them.
func (b blueprint) mounts() ([]corev1.Volume, []corev1.VolumeMount, error) {
	volumes := []corev1.Volume{
		{Name: "task", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{
				Path:     path.Base(Path),
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.annotations['" + v1alpha1.AnnotationTask + "']"},
			}},
			DefaultMode: new(int32(0o444)),
		}}},
		{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	mounts := []corev1.VolumeMount{
		{Name: "task", MountPath: path.Dir(Path), ReadOnly: true},
		{Name: "work", MountPath: WorkDir},
	}
	add := func(name, dir string, readOnly bool, source corev1.VolumeSource) {
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: source})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: readOnly})
	}
	if b.credentials.StorageSecret != "" {
		add("credentials", CredentialsDir, true, secretSource(b.credentials.StorageSecret, StorageKeys(b.task.Storage.Spec)...))
	}
	if b.credentials.EncryptionSecret != "" {
		add("encryption", EncryptionDir, true, secretSource(b.credentials.EncryptionSecret, v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword))
	}
	if local := b.task.Storage.Spec.Local; local != nil {
		add("storage", StorageDir, false, claimSource(local.PersistentVolumeClaim.ClaimName))
	}
	for i, v := range b.volumes {
		source := claimSource(v.claim)
		if v.hostPath != "" {
			if !b.privileged {
				return nil, nil, fmt.Errorf("host path of component %s %w", v.component, ErrPrivilegeRequired)
			}
			directory := corev1.HostPathDirectory
			source = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: v.hostPath, Type: &directory}}
		}
		add("component-"+strconv.Itoa(i), path.Join(VolumesDir, v.component), v.readOnly, source)
	}
	return volumes, mounts, nil
}

// StorageKeys are the keys of the storage's Secret that a mover may see.
func StorageKeys(s v1alpha1.Storage) []string {
	if s.Provider == v1alpha1.ProviderS3 {
		return []string{v1alpha1.S3AccessKeyID, v1alpha1.S3SecretAccessKey, v1alpha1.S3CACertData}
	}
	return nil
}

// secretSource shows only keys. Secret and keys are optional: a mover that starts without them says which is missing,
// while the kubelet would wait for ever.
func secretSource(name string, keys ...string) corev1.VolumeSource {
	s := &corev1.SecretVolumeSource{SecretName: name, Optional: new(true), DefaultMode: new(int32(0o444))}
	for _, k := range keys {
		s.Items = append(s.Items, corev1.KeyToPath{Key: k, Path: k})
	}
	return corev1.VolumeSource{Secret: s}
}

// claimSource mounts a claim. It is never marked read-only here: a driver could then refuse to share the volume with the
// pod that writes to it. The mount is what is read-only.
func claimSource(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
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

// securityOf is the host's own, completed by what policy says where the host says nothing.
func securityOf(host v1alpha1.MoverSecurityContext, template *v1alpha1.JobPodSpec) v1alpha1.MoverSecurityContext {
	if template == nil || template.SecurityContext == nil {
		return host
	}
	t := template.SecurityContext
	host.RunAsUser = cmp.Or(host.RunAsUser, t.RunAsUser)
	host.RunAsGroup = cmp.Or(host.RunAsGroup, t.RunAsGroup)
	host.SELinuxOptions = cmp.Or(host.SELinuxOptions, t.SELinuxOptions)
	if len(host.SupplementalGroups) == 0 {
		host.SupplementalGroups = t.SupplementalGroups
	}
	return host
}
