package workload

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// evictedAfter is how long Kubernetes leaves a pod on a node that no longer answers, unless the pod says otherwise.
const evictedAfter = 5 * time.Minute

// NodeAgain returns the node of a Job that is made later than its host was frozen: the one on which the pods that stay
// use the host's claims by now, or "" for any node. A refusal with ReasonVolumeMoving says which pod is about to move:
// the Job waits for each until that has lasted limit, and for none if limit is 0. The frozen node is kept if a pod that
// uses a claim stays on it, and if no single node fits. Movers don't count: a later one prefers their node, but must be
// able to do without.
func NodeAgain(
	h *v1alpha1.ResolvedHost, claims map[string]*corev1.PersistentVolumeClaim, pods []corev1.Pod, now time.Time,
	limit time.Duration,
) (string, *v1alpha1.ResolvedError) {
	pods = slices.SortedFunc(slices.Values(pods), comparePods)
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return IsMover(&p) || movesTooLong(&p, now, limit) })
	r := Resolver{Target: Target{Pods: pods, AwaitNodes: true}, Claims: claims}
	for _, v := range h.Volumes {
		if claim := claims[v.ClaimName]; claim != nil && limit > 0 {
			if moving := r.awaitsNode(claim); moving != nil {
				return "", moving
			}
		}
	}
	r.Target = Target{Pods: Staying(pods, h.Node)}
	node, refusal := r.node(h.Volumes, "", "")
	if refusal != nil {
		return h.Node, nil
	}
	return node, nil
}

// Staying returns the pods that do not leave their nodes, first those on the given one: the first node of a claim
// decides.
func Staying(pods []corev1.Pod, first string) []corev1.Pod {
	var on, elsewhere []corev1.Pod
	for i := range pods {
		switch p := &pods[i]; {
		case leaves(p):
		case p.Spec.NodeName == first:
			on = append(on, *p)
		default:
			elsewhere = append(elsewhere, *p)
		}
	}
	return append(on, elsewhere...)
}

// leaves reports whether a pod is being deleted, or its node no longer answers.
func leaves(p *corev1.Pod) bool { return p.DeletionTimestamp != nil || observe.Lost(p) }

// movesTooLong reports whether a pod should have left its node by now, or should have one.
func movesTooLong(p *corev1.Pod, now time.Time, limit time.Duration) bool {
	lost, isLost := observe.LostSince(p)
	var since time.Time
	switch {
	case p.DeletionTimestamp != nil: // that lies at the end of its grace period
		since = p.DeletionTimestamp.Add(-time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds, 0)) * time.Second)
	case p.Spec.NodeName == "":
		since = p.CreationTimestamp.Time
	case isLost:
		since, limit = lost, limit+evictedAfter
	default:
		return false
	}
	return now.Sub(since) >= limit || v1alpha1.Ahead(since, now)
}
