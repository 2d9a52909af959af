package hookstage

import (
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
)

// InOnePod reports whether a hook acts in one pod that it chooses.
func InOnePod(h *v1alpha1.ResolvedHook) bool {
	return inPods(h) && ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{}).Strategy != v1alpha1.ExecuteOnAll
}

// inPods reports whether a hook acts in pods.
func inPods(h *v1alpha1.ResolvedHook) bool {
	return h.Executor.Type != v1alpha1.HookExecutorOperator && h.Function == nil
}

// Run returns the attempt that must be under way, if there is one.
func (s *Hooks) Run(targets []v1alpha1.TypedObjectReference, since *metav1.Time, summary hook.Summary) []Run {
	if s.attempt == nil {
		return nil
	}
	return []Run{
		{
			Attempt: *s.attempt, Hook: &s.Hooks[s.underWay], Targets: targets,
			Pod: s.Status[s.underWay].Pod, Former: s.former(s.underWay, targets),
			InAll: s.inAll(&s.Hooks[s.underWay], targets), Again: s.again,
			Since: ptr.Deref(since, metav1.Time{}).Time, Summary: summary,
		},
	}
}

// choose writes down the pod that the running attempt of a hook has chosen. Once the pod is written, the attempt is
// made. Its container need not be: an API server with the CRDs of an earlier version never keeps it.
func (s *Hooks) choose(st *v1alpha1.HookStatus, pod v1alpha1.HookPod) {
	written := st.Pod != nil && SamePod(*st.Pod, pod)
	st.Pod = &pod
	if written {
		attempt := s.last(st)
		s.attempt = &attempt
		return
	}
	st.Reason, st.Message = "", ""
	s.After = time.Second
}

// SamePod reports whether two hooks act in the same pod.
func SamePod(a, b v1alpha1.HookPod) bool { return a.Name == b.Name && a.UID == b.UID }

// KnowContainer reports whether two hooks act in containers of the same name in the same pod, and both are known.
func KnowContainer(a, b v1alpha1.HookPod) bool {
	return SamePod(a, b) && a.Container == b.Container && a.ContainerID != "" && b.ContainerID != ""
}

// Restarted reports whether the container in which a hook acted was started again before another one acted in it.
func Restarted(before, after v1alpha1.HookPod) bool {
	return KnowContainer(before, after) && before.ContainerID != after.ContainerID
}

// former returns the pods in which earlier hooks acted that choose among the same pods as hook i.
func (s *Hooks) former(i int, targets []v1alpha1.TypedObjectReference) []v1alpha1.HookPod {
	var out []v1alpha1.HookPod
	add := func(hooks []v1alpha1.ResolvedHook, status []v1alpha1.HookStatus) {
		for j := range min(len(hooks), len(status)) {
			if pod := status[j].Pod; pod != nil && samePods(&hooks[j], &s.Hooks[i], targets) {
				out = append(out, *pod)
			}
		}
	}
	add(s.Earlier, s.EarlierStatus)
	add(s.Hooks[:i], s.Status)
	return out
}

// inAll reports whether a hook before the work acted in all pods among which h chooses.
func (s *Hooks) inAll(h *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference) bool {
	for i := range min(len(s.Earlier), len(s.EarlierStatus)) {
		e := &s.Earlier[i]
		if e.Executor.Type == h.Executor.Type && e.Function == nil && !InOnePod(e) && samePods(e, h, targets) &&
			mayHaveActed(&s.EarlierStatus[i]) {
			return true
		}
	}
	return false
}

// samePods reports whether two hooks choose among the same pods: by the same words, with the same parameters. targets
// are those whose pods they use if they name none.
func samePods(a, b *v1alpha1.ResolvedHook, targets []v1alpha1.TypedObjectReference) bool {
	of := func(h *v1alpha1.ResolvedHook) v1alpha1.HookPodExecutor {
		p := ptr.Deref(h.Executor.Pod, v1alpha1.HookPodExecutor{})
		p.Strategy = ""
		return p
	}
	return apiequality.Semantic.DeepEqual(of(a), of(b)) && hook.Pods(a, targets) == hook.Pods(b, targets)
}
