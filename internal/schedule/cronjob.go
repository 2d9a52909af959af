package schedule

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// CronJobInput is what a session's CronJob is made of.
type CronJobInput struct {
	// Name of the CronJob: policy.CronJobName of the invoker and the session.
	Name string
	// Namespace of the invoker.
	Namespace string
	// Invoker is the owner reference to the BackupConfiguration or BackupBatch.
	Invoker metav1.OwnerReference
	// InvokerLabel is the invoker's name as a label value.
	InvokerLabel string
	// Session is the name of the session.
	Session string
	// Scheduler of the session.
	Scheduler v1alpha1.SchedulerSpec
	// MoverImage is the image of the pod that creates the BackupSession.
	MoverImage string
}

// The environment of the trigger's pod, from the downward API.
const (
	// EnvPodNamespace is the namespace of the pod, and so of the invoker.
	EnvPodNamespace = "POD_NAMESPACE"
	// EnvJobName is the name of the pod's Job, from which SlotFromJobName reads the slot.
	EnvJobName = "JOB_NAME"
)

const (
	triggerUser = 65532
	// A pod that can't reach the API server is tried again by its Job; the name of the BackupSession is a function of the
	// slot, so that a second try makes no second run.
	triggerRetries = 3
	// Long enough to read a pod's log after a failure, short enough that a schedule of a minute leaves few pods.
	triggerTTLSeconds = 300
	// Bounds a pod whose image can't be pulled, which no retry counts.
	triggerDeadlineSeconds = 600
)

// CronJob is the CronJob that triggers a session: in each slot its pod creates the slot's BackupSession and ends. Runs may
// overlap as far as the CronJob is concerned; the BackupSession's controller decides on that.
func CronJob(in CronJobInput) *batchv1.CronJob {
	labels := map[string]string{
		v1alpha1.LabelManagedBy:   v1alpha1.ManagedByCairn,
		v1alpha1.LabelInvokerKind: in.Invoker.Kind,
		v1alpha1.LabelInvokerName: in.InvokerLabel,
		v1alpha1.LabelSession:     in.Session,
	}
	return &batchv1.CronJob{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "CronJob"},
		ObjectMeta: metav1.ObjectMeta{
			Name:            in.Name,
			Namespace:       in.Namespace,
			Labels:          labels,
			OwnerReferences: []metav1.OwnerReference{in.Invoker},
		},
		Spec: batchv1.CronJobSpec{
			Schedule:                   in.Scheduler.Schedule,
			TimeZone:                   in.Scheduler.TimeZone,
			StartingDeadlineSeconds:    in.Scheduler.StartingDeadlineSeconds,
			Suspend:                    ptr.To(ptr.Deref(in.Scheduler.Suspend, false)),
			ConcurrencyPolicy:          batchv1.AllowConcurrent,
			SuccessfulJobsHistoryLimit: ptr.To[int32](1),
			FailedJobsHistoryLimit:     ptr.To[int32](1),
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: batchv1.JobSpec{
					BackoffLimit:            ptr.To[int32](triggerRetries),
					ActiveDeadlineSeconds:   ptr.To[int64](triggerDeadlineSeconds),
					TTLSecondsAfterFinished: ptr.To[int32](triggerTTLSeconds),
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Labels: labels},
						Spec:       triggerPod(in),
					},
				},
			},
		},
	}
}

func triggerPod(in CronJobInput) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy:      corev1.RestartPolicyNever,
		ServiceAccountName: v1alpha1.TriggerServiceAccount,
		EnableServiceLinks: ptr.To(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.To(true),
			RunAsUser:      ptr.To[int64](triggerUser),
			RunAsGroup:     ptr.To[int64](triggerUser),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:  "trigger",
			Image: in.MoverImage,
			Args: []string{
				"trigger",
				"--invoker-kind=" + in.Invoker.Kind,
				"--invoker=" + in.Invoker.Name,
				"--session=" + in.Session,
				"--cronjob=" + in.Name,
			},
			Env: []corev1.EnvVar{
				fieldEnv(EnvPodNamespace, "metadata.namespace"),
				fieldEnv(EnvJobName, "metadata.labels['batch.kubernetes.io/job-name']"),
			},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{
					corev1.ResourceCPU:    resource.MustParse("10m"),
					corev1.ResourceMemory: resource.MustParse("32Mi"),
				},
			},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false),
				ReadOnlyRootFilesystem:   ptr.To(true),
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
}

func fieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
	}}
}
