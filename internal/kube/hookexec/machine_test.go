package hookexec

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// machine returns the pod of a virtual machine: nothing restarts it, but it is the application.
func machine(name string, made time.Time, phase corev1.PodPhase) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(made),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: "vm", UID: "u",
				Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "compute"}},
			TerminationGracePeriodSeconds: new(int64(30)),
		},
		Status: corev1.PodStatus{
			Phase: phase,
			Conditions: []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(made),
			}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "compute", ContainerID: "containerd://" + name,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
}

// A virtual machine that is frozen moves 50 minutes after the freeze. Its copy was made long before that.
func TestAMachineThatMovesIsLostWhenItMoves(t *testing.T) {
	t.Parallel()
	began := time.Now().Truncate(time.Second)
	next := machine("virt-launcher-b", began.Add(50*time.Minute), corev1.PodRunning)
	for name, pods := range map[string][]corev1.Pod{
		"migrated":  {machine("virt-launcher-a", began.Add(-time.Hour), corev1.PodSucceeded), next},
		"restarted": {next},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			run := &hookstage.Run{
				Attempt: hookstage.Attempt{Stage: hookstage.Post}, Since: began, Hook: &v1alpha1.ResolvedHook{},
				Former: []v1alpha1.HookPod{
					{
						Name: "virt-launcher-a", UID: "virt-launcher-a", Container: "compute",
						ContainerID: "virt-launcher-a",
					},
				},
			}
			action := &v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{}}
			p := one(able(pods, run, action), pods, run)
			g.Expect(p).NotTo(BeNil())
			since := choiceOf(p, pods, run, action).Since
			g.Expect(since).NotTo(BeNil())
			g.Expect(since.Sub(began)).To(BeNumerically(">", 40*time.Minute))
		})
	}
}

// Somebody has a second pod on the claim of the machine that cannot start.
func TestAHookActsInAMachineBesideAPodThatNeverStarts(t *testing.T) {
	t.Parallel()
	began := time.Now().Truncate(time.Second)
	ago := began.Add(-time.Hour)
	shell := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shell", UID: "shell", CreationTimestamp: metav1.NewTime(ago)},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "sh"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	pods := []corev1.Pod{shell, machine("virt-launcher-a", ago, corev1.PodRunning)}
	for _, stage := range []hookstage.Stage{hookstage.Pre, hookstage.Post} {
		run := &hookstage.Run{
			Attempt: hookstage.Attempt{Stage: stage}, Since: began, Hook: &v1alpha1.ResolvedHook{},
		}
		p := one(able(pods, run, &v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{}}), pods, run)
		NewWithT(t).Expect(p).To(HaveField("Name", "virt-launcher-a"), string(stage))
	}
}
