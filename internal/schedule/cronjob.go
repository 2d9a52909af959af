package schedule

import (
	"maps"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// CronJobInput describes the CronJob of a session.
type CronJobInput struct {
	// Name is the name of the CronJob: policy.CronJobName of the invoker and the session.
	Name string
	// Namespace is the namespace of the invoker.
	Namespace string
	// Invoker is the owner reference to the BackupConfiguration or BackupBatch.
	Invoker metav1.OwnerReference
	// InvokerLabel is the invoker's name as a label value.
	InvokerLabel string
	// Session is the name of the session.
	Session string
	// Scheduler is the scheduler of the session.
	Scheduler v1alpha1.SchedulerSpec
	// Times are the slots of the session.
	Times Times
	// Suspended says that no run must start for now.
	Suspended bool
	// Retries is how often the failed targets of a run are tried again.
	Retries int32
	// MoverImage is the image of the pod that creates the BackupSession.
	MoverImage string
}

// Environment variables of the trigger's pod, from the downward API.
const (
	// EnvPodNamespace is the namespace of the pod, which is also the invoker's.
	EnvPodNamespace = "POD_NAMESPACE"
	// EnvJobName is the name of the pod's Job, from which SlotFromJobName reads the slot.
	EnvJobName = "JOB_NAME"
)

const (
	triggerUser = 65532
	// triggerRetries is how often the Job tries again if a pod can't reach the API server. The name of the
	// BackupSession is a function of the slot, so a second try makes no second run.
	triggerRetries = 3
	// triggerTTLSeconds is long enough to read a pod's log after a failure, and short enough that a schedule of every
	// minute leaves few pods.
	triggerTTLSeconds = 300
	// triggerDeadlineSeconds bounds a pod whose image can't be pulled, which no retry counts.
	triggerDeadlineSeconds = 600
)

// CronJob returns the CronJob that triggers a session: in each slot its pod creates the BackupSession of the slot and
// ends. The CronJob lets runs overlap; the BackupSession's controller decides whether they do.
func CronJob(in CronJobInput) *batchv1.CronJob {
	labels := map[string]string{
		v1alpha1.LabelManagedBy:   v1alpha1.ManagedByCairn,
		v1alpha1.LabelInvokerKind: in.Invoker.Kind,
		v1alpha1.LabelInvokerName: in.InvokerLabel,
		v1alpha1.LabelSession:     in.Session,
	}
	template := ptr.Deref(in.Scheduler.JobTemplate, v1alpha1.TriggerJobTemplate{})
	return &batchv1.CronJob{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "CronJob"},
		ObjectMeta: metav1.ObjectMeta{
			Name:            in.Name,
			Namespace:       in.Namespace,
			Labels:          labels,
			OwnerReferences: []metav1.OwnerReference{in.Invoker},
		},
		Spec: batchv1.CronJobSpec{
			Schedule:                   in.Times.Line(),
			TimeZone:                   new(in.Times.timeZone()),
			StartingDeadlineSeconds:    in.Scheduler.StartingDeadlineSeconds,
			Suspend:                    new(in.Suspended),
			ConcurrencyPolicy:          batchv1.AllowConcurrent,
			SuccessfulJobsHistoryLimit: valueOr(in.Scheduler.SuccessfulJobsHistoryLimit, 3),
			FailedJobsHistoryLimit:     valueOr(in.Scheduler.FailedJobsHistoryLimit, 1),
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metadata(template.Template.Controller, labels),
				Spec: batchv1.JobSpec{
					BackoffLimit:            valueOr(template.BackoffLimit, triggerRetries),
					ActiveDeadlineSeconds:   valueOr(template.ActiveDeadlineSeconds, triggerDeadlineSeconds),
					TTLSecondsAfterFinished: ttl(&in.Scheduler, &template),
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metadata(template.Template.Metadata, labels),
						Spec:       triggerPod(in, &template.Template.Spec),
					},
				},
			},
		},
	}
}

// valueOr returns the value that policy sets, else the default.
func valueOr[T int32 | int64](set *T, otherwise T) *T { return new(ptr.Deref(set, otherwise)) }

// ttl returns how long a finished Job stays: what policy says. If policy sets a history limit instead, there is no
// TTL.
func ttl(scheduler *v1alpha1.SchedulerSpec, template *v1alpha1.TriggerJobTemplate) *int32 {
	switch {
	case template.TTLSecondsAfterFinished != nil:
		return new(*template.TTLSecondsAfterFinished)
	case scheduler.SuccessfulJobsHistoryLimit != nil || scheduler.FailedJobsHistoryLimit != nil:
		return nil
	default:
		return ptr.To[int32](triggerTTLSeconds)
	}
}

// metadata returns the metadata that policy sets, overlaid with our labels.
func metadata(set v1alpha1.TriggerMetadata, ours map[string]string) metav1.ObjectMeta {
	labels := map[string]string{}
	maps.Copy(labels, set.Labels)
	maps.Copy(labels, ours)
	return metav1.ObjectMeta{Labels: labels, Annotations: maps.Clone(set.Annotations)}
}

func triggerPod(in CronJobInput, template *v1alpha1.TriggerPodSpec) corev1.PodSpec {
	args := []string{
		"trigger",
		"--invoker-kind=" + in.Invoker.Kind,
		"--invoker=" + in.Invoker.Name,
		"--session=" + in.Session,
		"--cronjob=" + in.Name,
	}
	if in.Retries > 0 {
		args = append(args, "--retries="+strconv.Itoa(int(in.Retries)))
	}
	template = template.DeepCopy()
	as := ptr.Deref(template.SecurityContext, v1alpha1.TriggerSecurityContext{})
	user := valueOr(as.RunAsUser, triggerUser)
	return corev1.PodSpec{
		NodeSelector:                  template.NodeSelector,
		Tolerations:                   template.Tolerations,
		Affinity:                      template.Affinity,
		TopologySpreadConstraints:     template.TopologySpreadConstraints,
		PriorityClassName:             template.PriorityClassName,
		Priority:                      template.Priority,
		SchedulerName:                 template.SchedulerName,
		RuntimeClassName:              template.RuntimeClassName,
		ImagePullSecrets:              template.ImagePullSecrets,
		TerminationGracePeriodSeconds: template.TerminationGracePeriodSeconds,
		DNSPolicy:                     template.DNSPolicy,
		DNSConfig:                     template.DNSConfig,
		RestartPolicy:                 corev1.RestartPolicyNever,
		ServiceAccountName:            v1alpha1.TriggerServiceAccount,
		EnableServiceLinks:            new(ptr.Deref(template.EnableServiceLinks, false)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      user,
			RunAsGroup:     valueOr(as.RunAsGroup, *user),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:  "trigger",
			Image: in.MoverImage,
			Args:  args,
			Env: []corev1.EnvVar{
				fieldEnv(EnvPodNamespace, "metadata.namespace"),
				fieldEnv(EnvJobName, "metadata.labels['batch.kubernetes.io/job-name']"),
			},
			Resources: resources(&template.Resources),
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false),
				ReadOnlyRootFilesystem:   new(true),
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
}

// resources returns the resources that policy sets, else small ones.
func resources(set *corev1.ResourceRequirements) corev1.ResourceRequirements {
	if len(set.Requests)+len(set.Limits)+len(set.Claims) > 0 {
		return *set.DeepCopy()
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("10m"),
		corev1.ResourceMemory: resource.MustParse("32Mi"),
	}}
}

func fieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
	}}
}
