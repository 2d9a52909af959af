package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// inPods returns a hook in a pod of a selector.
func inPods(name, selector string) v1alpha1.ResolvedHook {
	return v1alpha1.ResolvedHook{
		Name: name, Timeout: &metav1.Duration{Duration: time.Minute},
		Executor: v1alpha1.HookExecutor{
			Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: selector},
		},
	}
}

// web was scaled down and up, the cache never was. A preRestore hook locked the cache, which moves to another node just
// when it is to be unlocked.
func TestAThawWaitsWhateverKeptAnEarlierHookWaiting(t *testing.T) {
	t.Parallel()
	for name, selector := range map[string]string{
		"the pods of web did not come": "name=web",
		"a mistake in a selector":      "app=wep",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, in := NewWithT(t), hookedBatch(v1alpha1.ScaleUpDone)
			s := &in.Batch.Status
			s.Resolved.Hooks = &v1alpha1.ResolvedHooks{
				Pre:  []v1alpha1.ResolvedHook{inPods("lock", "app=cache")},
				Post: []v1alpha1.ResolvedHook{inPods("warm", selector), inPods("unlock", "app=cache")},
			}
			began, ended := metav1.NewTime(time.Unix(50, 0)), metav1.NewTime(time.Unix(49, 0))
			s.Hooks = &v1alpha1.HookStatuses{
				PreHooks: []v1alpha1.HookStatus{{Name: "lock", Phase: v1alpha1.HookSucceeded, Attempts: 1}},
				PostHooks: []v1alpha1.HookStatus{
					{
						Name: "warm", Phase: v1alpha1.HookFailed, Reason: v1alpha1.ReasonNoRunningPod, Attempts: 1,
						CompletionTime: &ended,
					},
					{Name: "unlock", Phase: v1alpha1.HookRunning, Attempts: 1, StartTime: &began},
				},
			}
			in.Hooks = func(a hookstage.Attempt) *hookstage.Outcome {
				if a.Name != "unlock" || a.Number != 1 {
					return nil
				}
				return &hookstage.Outcome{
					Reason: v1alpha1.ReasonNoRunningPod, Message: "no pod runs", Unbegun: true, At: time.Unix(59, 0),
				}
			}
			d := decideScaling(g, in, Workload{UID: "u", Replicas: 2, PodLabels: map[string]string{"name": "web"}})
			g.Expect(d.Status.Hooks.PostHooks[1].Phase).To(Equal(v1alpha1.HookRunning))
		})
	}
}
