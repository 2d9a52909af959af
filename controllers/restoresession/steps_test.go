package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// stepsTask creates an Addon of two steps with the name of the namespace, and names its task.
func (w *world) stepsTask(access v1alpha1.TargetAccess) *v1alpha1.AddonInfo {
	w.T.Helper()
	sessiontest.Create(w.T, w.Client,
		&v1alpha1.Function{
			ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
			Spec:       v1alpha1.FunctionSpec{Image: "app:v1", Args: []string{"${restoreSession}"}},
		},
		&v1alpha1.Addon{
			ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
			Spec: v1alpha1.AddonSpec{RestoreTasks: []v1alpha1.Task{{
				Name: "logical-backup-restore", Steps: []v1alpha1.TaskStep{
					{Name: w.Namespace, TargetAccess: access},
					{Name: "pvc-restore"},
				},
			}}},
		})
	return &v1alpha1.AddonInfo{Name: w.Namespace, Tasks: []v1alpha1.TaskReference{{Name: "logical-backup-restore"}}}
}

func TestAStepThatWritesBeforeARestoreNeedsConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	info := w.stepsTask("")
	steps := func(s *v1alpha1.RestoreSession) { s.Spec.Addon = info }
	w.restore("unasked", steps)
	s := w.settle("unasked")
	w.Expect(ending(s)).To(Equal("Invalid/ConfirmationMissing"))
	w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", And(
		ContainSubstring("step "+w.Namespace+"-0 of the task can write"), ContainSubstring("spec.confirm: ")))))
	w.Expect(w.Jobs()).To(BeEmpty())

	w.Outcome = func(*batchv1.Job) kubelet.Outcome { return kubelet.Outcome{Step: w.Namespace + "-0"} }
	w.restore("failed", steps, w.confirmed("target"))
	s = w.settle("failed")
	w.Expect(ending(s)).To(Equal("Failed/StepFailed"))
	w.Expect(s.Status.Conditions).
		To(ContainElement(HaveField("Message",
			ContainSubstring("step "+w.Namespace+"-0 of the task failed with exit code 1"))))
	w.Expect(w.Jobs()).To(HaveLen(1))

	w.Outcome = kubelet.Succeed
	w.restore("confirmed", steps, w.confirmed("target"), func(s *v1alpha1.RestoreSession) { s.Spec.Verify = true })
	w.Expect(ending(w.settle("confirmed"))).To(Equal("Succeeded/Succeeded"))
	for _, job := range w.Jobs() {
		w.Expect(job.Spec.Template.Spec.InitContainers[0].VolumeMounts).To(ContainElement(
			corev1.VolumeMount{Name: "component-0", MountPath: "/cairn/volumes/pvc"}),
			"a step of a restore is allowed to write")
	}
}

func TestAStepThatOnlyReadsNeedsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	info := w.stepsTask(v1alpha1.TargetAccessReadOnly)
	w.restore("restore", func(s *v1alpha1.RestoreSession) { s.Spec.Addon = info })
	w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
}
