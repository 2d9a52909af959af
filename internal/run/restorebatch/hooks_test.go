package restorebatch

import (
	"cmp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// hookedBatch returns a RestoreBatch of one target that is restored. Its only postRestore hook, in pods of app=web, has
// been written to the status ten seconds ago.
func hookedBatch(phase v1alpha1.ScalePhase) Input {
	b := scalingBatch(phase)
	b.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{Post: []v1alpha1.ResolvedHook{{
		Name: "reindex", Timeout: &metav1.Duration{Duration: time.Minute},
		Executor: v1alpha1.HookExecutor{
			Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: "app=web"},
		},
	}}}
	began := metav1.NewTime(time.Unix(50, 0))
	b.Status.Hooks = &v1alpha1.HookStatuses{PostHooks: []v1alpha1.HookStatus{
		{Name: "reindex", Phase: v1alpha1.HookRunning, Attempts: 1, StartTime: &began},
	}}
	return Input{
		Batch: b, Now: time.Unix(60, 0), Hooks: func(hookstage.Attempt) *hookstage.Outcome { return nil },
		Children: map[string]*v1alpha1.RestoreSession{
			"back-web": restoredChild("back-web", v1alpha1.RestoreSessionSucceeded, "Why"),
		},
	}
}

// selects returns an edit that makes a hook act in the pods of a selector.
func selects(selector string) func(*v1alpha1.ResolvedHook) {
	return func(h *v1alpha1.ResolvedHook) { h.Executor.Pod.Selector = selector }
}

func TestAHookWaitsForTheWorkloadThatIsScaledUp(t *testing.T) {
	web := map[string]string{"app": "web", "tier": "front"}
	one, both := []string{"web-1"}, []string{"web-0", "web-1"}
	for name, tt := range map[string]struct {
		is    Workload
		kind  string // of the workload, if it is not a Deployment
		edit  func(*v1alpha1.ResolvedHook)
		waits bool
	}{
		"it has no pods":          {is: Workload{UID: "u", Replicas: 2, PodLabels: web}, waits: true},
		"a pod starts":            {is: Workload{UID: "u", Replicas: 2, Pods: 1, PodLabels: web}, waits: true},
		"a pod is ready":          {is: Workload{UID: "u", Replicas: 2, Pods: 2, Ready: one, PodLabels: web}},
		"an autoscaler has more":  {is: Workload{UID: "u", Replicas: 5, Pods: 2, Ready: both, PodLabels: web}},
		"somebody scaled it down": {is: Workload{UID: "u", PodLabels: web}},
		"it is gone":              {},
		"it was replaced":         {is: Workload{UID: "v", Replicas: 2, PodLabels: web}},
		"the hook is for others":  {is: Workload{UID: "u", Replicas: 2, PodLabels: map[string]string{"app": "db"}}},
		"the hook is for all pods": {
			is:   Workload{UID: "u", Replicas: 2, Pods: 2, Ready: one, PodLabels: web},
			edit: func(h *v1alpha1.ResolvedHook) { h.Executor.Pod.Strategy = v1alpha1.ExecuteOnAll }, waits: true,
		},
		"the hook is for all pods, and an autoscaler has more": {
			is:   Workload{UID: "u", Replicas: 5, Pods: 2, Ready: both, PodLabels: web},
			edit: func(h *v1alpha1.ResolvedHook) { h.Executor.Pod.Strategy = v1alpha1.ExecuteOnAll }, waits: true,
		},
		"all pods are ready": {
			is:   Workload{UID: "u", Replicas: 2, Pods: 2, Ready: both, PodLabels: web},
			edit: func(h *v1alpha1.ResolvedHook) { h.Executor.Pod.Strategy = v1alpha1.ExecuteOnAll },
		},
		"a value that is read later names the pods": {
			is:   Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: selects("app=${APP}"), waits: true,
		},
		"a label that the StatefulSet controller gives": {
			is: Workload{UID: "u", Replicas: 2, PodLabels: web}, kind: v1alpha1.KindStatefulSet,
			edit: selects("app=web,statefulset.kubernetes.io/pod-name=web-0"), waits: true,
		},
		"only the name of a pod": {
			is:   Workload{UID: "u", Replicas: 2, Pods: 2, Ready: one, PodLabels: web},
			kind: v1alpha1.KindStatefulSet, edit: selects("statefulset.kubernetes.io/pod-name=web-0"), waits: true,
		},
		"only the number of a pod": {
			is:   Workload{UID: "u", Replicas: 2, Pods: 2, Ready: one, PodLabels: web},
			kind: v1alpha1.KindStatefulSet, edit: selects("apps.kubernetes.io/pod-index=0"), waits: true,
		},
		"the pod that it names is ready": {
			is:   Workload{UID: "u", Replicas: 2, Pods: 2, Ready: one, PodLabels: web},
			kind: v1alpha1.KindStatefulSet, edit: selects("app=web,statefulset.kubernetes.io/pod-name=web-1"),
		},
		"the pod with the number is ready, and is all that the hook chooses": {
			is:   Workload{UID: "u", Replicas: 2, Pods: 2, Ready: one, PodLabels: web},
			kind: v1alpha1.KindStatefulSet,
			edit: func(h *v1alpha1.ResolvedHook) {
				selects("apps.kubernetes.io/pod-index=1")(h)
				h.Executor.Pod.Strategy = v1alpha1.ExecuteOnAll
			},
		},
		"the name of a pod of another StatefulSet": {
			is: Workload{UID: "u", Replicas: 2, PodLabels: web}, kind: v1alpha1.KindStatefulSet,
			edit: selects("statefulset.kubernetes.io/pod-name=web-db-0"),
		},
		"the name of a pod of a StatefulSet, and this is none": {
			is:   Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: selects("app=web,statefulset.kubernetes.io/pod-name=web-0"),
		},
		// Of Patroni, or of an application that was not scaled: if no pod has it, the hook waits then.
		"only pods have the label": {
			is:   Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: selects("role=master"),
		},
		"only pods have one of the labels": {
			is:   Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: selects("role=master,app=web"), waits: true,
		},
		"only pods have one of the labels, and others the other": {
			is:   Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: selects("role=master,app=db"),
		},
		"a value that is known names other pods": {
			is: Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: func(h *v1alpha1.ResolvedHook) {
				h.Executor.Pod.Selector, h.Values = "app=${APP}", []v1alpha1.HookValue{{Name: "APP", Value: "db"}}
			},
		},
		"the hook asks a server": {
			is:   Workload{UID: "u", Replicas: 2, PodLabels: web},
			edit: func(h *v1alpha1.ResolvedHook) { h.Executor.Type = v1alpha1.HookExecutorOperator },
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, in := NewWithT(t), hookedBatch(v1alpha1.ScaleUpDone)
			if tt.edit != nil {
				tt.edit(&in.Batch.Status.Resolved.Hooks.Post[0])
			}
			w := &in.Batch.Status.ScaledDown[0]
			w.Kind = cmp.Or(tt.kind, w.Kind)
			d := decideScaling(g, in, tt.is)
			g.Expect(d.Hooks).To(HaveLen(map[bool]int{true: 0, false: 1}[tt.waits]))
			message := d.Status.Hooks.PostHooks[0].Message
			g.Expect(strings.HasPrefix(message, "waiting: the pods of "+w.String())).To(Equal(tt.waits), message)
		})
	}
}

// Such a workload had no replicas before, or its restore did not end well. Nobody looks for its pods.
func TestAHookDoesNotWaitForAWorkloadThatStaysDown(t *testing.T) {
	for _, phase := range []v1alpha1.ScalePhase{v1alpha1.ScaleLeft, v1alpha1.ScaleDisturbed} {
		g := NewWithT(t)
		d := Next(hookedBatch(phase))
		g.Expect(d.Look).To(BeFalse())
		g.Expect(d.Hooks).To(HaveLen(1))
	}
}

// Who deletes a RestoreBatch does not wait for its pods.
func TestAHookOfADeletedBatchDoesNotWaitForTheWorkloadThatIsScaledUp(t *testing.T) {
	for name, out := range map[string]*hookstage.Outcome{
		"it was not made": nil,
		"no pod ran":      {Reason: v1alpha1.ReasonNoRunningPod, Message: "no pod runs", Unbegun: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, in := NewWithT(t), hookedBatch(v1alpha1.ScaleUpDone)
			in.Batch.DeletionTimestamp = new(metav1.NewTime(time.Unix(55, 0)))
			in.Hooks = func(hookstage.Attempt) *hookstage.Outcome { return out }
			d := Next(in)
			g.Expect(d.Look).To(BeFalse())
			g.Expect(d.Status.Hooks.PostHooks[0].Message).NotTo(ContainSubstring("waiting"))
			g.Expect(d.Hooks).To(HaveLen(map[bool]int{true: 1}[out == nil]))
		})
	}
}
