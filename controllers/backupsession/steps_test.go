package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// stepsTask creates an Addon of two steps with the name of the namespace, and names its task.
func (w *world) stepsTask(arg string) *v1alpha1.AddonInfo {
	w.T.Helper()
	sessiontest.Create(w.T, w.Client,
		&v1alpha1.Function{
			ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
			Spec:       v1alpha1.FunctionSpec{Image: "app:v1", Args: []string{arg}},
		},
		&v1alpha1.Addon{
			ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
			Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
				Name: "logical-backup",
				Steps: []v1alpha1.TaskStep{
					{Name: w.Namespace, TargetAccess: v1alpha1.TargetAccessReadWrite},
					{Name: "pvc-backup"},
				},
			}}},
		})
	return &v1alpha1.AddonInfo{
		Name: w.Namespace,
		Tasks: []v1alpha1.TaskReference{{Name: "logical-backup", Variables: []corev1.EnvVar{
			{
				Name: "TOKEN",
				ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: "app"}, Key: "t",
				}},
			},
		}}},
	}
}

func TestARunWithSteps(t *testing.T) {
	t.Parallel()
	step := func(w *world) string { return w.Namespace + "-0" }
	for name, tc := range map[string]struct {
		arg     string
		outcome func(w *world) func(*batchv1.Job) kubelet.Outcome
		want    string
		says    func(w *world) string
		jobs    int
	}{
		"all of them end well": {
			arg:     "${targetName}",
			outcome: func(*world) func(*batchv1.Job) kubelet.Outcome { return kubelet.Succeed },
			want:    "Succeeded/Succeeded", jobs: 1,
		},
		"one fails": {arg: "x", outcome: func(w *world) func(*batchv1.Job) kubelet.Outcome {
			return func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Step: step(w)} }
		}, want: "Failed/StepFailed", says: func(w *world) string {
			return "step " + step(w) +
				" of the task failed with exit code 1"
		}, jobs: 1},
		"one names a variable that nobody sets": {
			arg: "${nobody}", want: "Failed/InvalidParameters",
			says: func(w *world) string {
				return `Function "` + w.Namespace + `": ${nobody} is neither a built-in variable`
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			restricted := client.RawPatch(types.MergePatchType,
				[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
			w.Expect(w.Client.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}},
				restricted)).To(Succeed(), "label the namespace")
			bare := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "bare"},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			}
			w.Eventually(func() error {
				return w.Client.Create(t.Context(), bare.DeepCopy(),
					client.DryRunAll)
			}).WithTimeout(testbed.Patience).
				Should(MatchError(ContainSubstring("violates PodSecurity")),
					"the profile applies to the mover's pod, too, once the admission knows it")
			info := w.stepsTask(tc.arg)
			w.configuration(func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon = info })
			if tc.outcome != nil {
				w.Outcome = tc.outcome(w)
			}
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			s := w.settle("run")
			w.Expect(summary(s)[0]).To(Equal(tc.want), "%v", s.Status.Conditions)
			w.Expect(w.Jobs()).To(HaveLen(tc.jobs), "a step that failed is not repeated")
			if tc.says != nil {
				w.Expect(s.Status.Targets[0].Message).To(ContainSubstring(tc.says(w)))
			}
			if tc.jobs == 0 {
				return
			}
			frozen := s.Status.Resolved.Targets[0].Task
			w.Expect(frozen.Steps).To(HaveLen(1), "the status, read back from the API server, names what ran")
			pod := w.Jobs()[0].Spec.Template.Spec
			w.Expect(pod.InitContainers).To(HaveLen(1))
			w.Expect(pod.InitContainers[0].Image).To(Equal("app:v1"))
			w.Expect(pod.InitContainers[0].Env).
				To(Equal([]corev1.EnvVar{frozen.Steps[0].Container.Env[0], {Name: "COMPONENT_NAME", Value: "pvc"}}))
			w.Expect(pod.Containers[0].Name).To(Equal(task.Container))
		})
	}
}
