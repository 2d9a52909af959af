package backupbatch

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A hook of a batch that selects no pods means the pods of the target. With several targets nobody knows which target,
// so the batch reports it before any run fails. The batch becomes ready once the HookTemplate selects pods.
func TestHooksOfABatchAreChecked(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := namespaceWith(t, "web", "db")
	template := &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "freeze"},
		Spec: v1alpha1.HookTemplateSpec{
			Action:   &v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{Command: []string{"sync"}}},
			Executor: &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorPod},
		},
	}
	batch := batchOf(namespace, "web", "db")
	batch.Spec.Sessions[0].Hooks = &v1alpha1.BackupHooks{PreBackup: []v1alpha1.HookInfo{{
		Name:         "freeze",
		HookTemplate: &v1alpha1.ObjectReference{Name: "freeze"},
	}}}
	bed.Create(t, batch)
	bed.ReadyRepositories(t, namespace, "web", "db")
	bed.ExpectReason(t, batch, v1alpha1.PhaseNotReady, v1alpha1.ReasonHookTemplateNotFound,
		"spec.sessions[0].hooks.preBackup[0].hookTemplate: there is no HookTemplate "+namespace+"/freeze")

	bed.Create(t, template)
	bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidHook,
		`the HookTemplate "freeze" names no pods, but the session has several targets: `+
			`set executor.pod.selector or executor.pod.owner`)

	template.Spec.Executor.Pod = &v1alpha1.HookPodExecutor{Selector: "app=web"}
	g.Expect(bed.Client.Update(t.Context(), template)).To(Succeed())
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Phase).To(Equal(v1alpha1.PhaseReady))
	}, "the HookTemplate selects its pods")

	template.Spec.Action = nil
	template.Spec.Executor = &v1alpha1.HookExecutor{
		Type:     v1alpha1.HookExecutorFunction,
		Function: &v1alpha1.HookFunctionExecutor{Name: namespace},
	}
	g.Expect(bed.Client.Update(t.Context(), template)).To(Succeed())
	bed.ExpectReason(t, batch, v1alpha1.PhaseNotReady, v1alpha1.ReasonFunctionNotFound,
		`there is no Function "`+namespace+`", which HookTemplate "freeze" names`)
	function := &v1alpha1.Function{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec:       v1alpha1.FunctionSpec{Image: "app", Args: []string{"${targetName}"}},
	}
	bed.Create(t, function)
	bed.ExpectReason(t, batch, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidHook, "${targetName} has no value here")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(function), function)).To(Succeed())
	function.Spec.Args = []string{"${session}"}
	g.Expect(bed.Client.Update(t.Context(), function)).To(Succeed())
	bed.Eventually(t, batch, func(g Gomega) {
		g.Expect(batch.Status.Phase).To(Equal(v1alpha1.PhaseReady))
	}, "every variable of the Function has a value")
}
