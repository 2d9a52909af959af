package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// Functions stop an application before a restore and start it afterwards, also if the manager is killed at any write:
// each Job is created once.
func TestFunctionsRunAroundARestoreWithTheManagerKilled(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) (*world, *[]string) {
		w := newWorld(t)
		for _, name := range []string{"stop", "start"} {
			function := &v1alpha1.Function{
				ObjectMeta: metav1.ObjectMeta{Name: w.Namespace + "-" + name},
				Spec: v1alpha1.FunctionSpec{
					Image: "app", Args: []string{name, "${restoreSession}", "${PVC_NAME}"},
				},
			}
			sessiontest.Create(t, w.Client, function, &v1alpha1.HookTemplate{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
				Spec: v1alpha1.HookTemplateSpec{Executor: &v1alpha1.HookExecutor{
					Type: v1alpha1.HookExecutorFunction, Function: &v1alpha1.HookFunctionExecutor{Name: function.Name},
				}},
			})
		}
		ran, seen := &[]string{}, map[types.UID]bool{}
		outcome := w.Outcome
		w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
			if name := kubelet.HookOf(job); !seen[job.UID] {
				if seen[job.UID] = true; name == "" {
					name = "restore"
				}
				*ran = append(*ran, name)
			}
			return outcome(job)
		}
		w.Killer = killer
		w.restore("restore", func(s *v1alpha1.RestoreSession) {
			s.Spec.Hooks = &v1alpha1.RestoreHooks{
				PreRestore:  []v1alpha1.HookInfo{sessiontest.UseTemplate("stop")},
				PostRestore: []v1alpha1.HookInfo{sessiontest.UseTemplate("start")},
			}
		})
		return w, ran
	}
	want := []string{"stop", "restore", "start"}
	undisturbed := &sessiontest.Killer{}
	w, ran := start(t, undisturbed)
	s := w.drive("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(*ran).To(Equal(want))
	for _, job := range w.Jobs() {
		if kubelet.HookOf(&job) == "stop" {
			w.Expect(job.Name).To(Equal(s.Status.Hooks.PreHooks[0].Job))
			w.Expect(job.Spec.Template.Spec.Containers[0].Args).
				To(Equal([]string{"stop", "restore", s.Spec.Target.Name}))
		}
	}
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, ran := start(t, killer)
			w.Expect(ending(w.drive("restore"))).To(Equal("Succeeded/Succeeded"))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(*ran).To(Equal(want))
		})
	}
}

func TestAFunctionThatFailsStopsARestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	function := &v1alpha1.Function{
		ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
		Spec:       v1alpha1.FunctionSpec{Image: "app"},
	}
	sessiontest.Create(t, w.Client, function, &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "stop"},
		Spec: v1alpha1.HookTemplateSpec{Executor: &v1alpha1.HookExecutor{
			Type: v1alpha1.HookExecutorFunction, Function: &v1alpha1.HookFunctionExecutor{Name: function.Name},
		}},
	})
	w.Outcome = func(*batchv1.Job) kubelet.Outcome {
		return kubelet.Outcome{Function: &kubelet.FunctionEnd{Code: 1, Log: "no"}}
	}
	w.restore("restore", func(s *v1alpha1.RestoreSession) {
		s.Spec.Hooks = &v1alpha1.RestoreHooks{PreRestore: []v1alpha1.HookInfo{sessiontest.UseTemplate("stop")}}
	})
	s := w.drive("restore")
	w.Expect(ending(s)).To(Equal("Failed/FailedToExecutePreRestoreHooks"))
	w.Expect(w.Jobs()).To(HaveLen(1))
	w.Expect(s.Status.Hooks.PreHooks[0].Stderr).To(Equal("no"))
	w.Expect(w.stamp()).To(BeEmpty())
}
