package session

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Holds says whether a pod keeps its volumes mounted: it was given a node and has not ended.
func Holds(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// Mounts says whether a pod uses a PersistentVolumeClaim, also through an ephemeral volume.
func Mounts(p *corev1.Pod, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return claimOf(v, p.Name) == claim })
}

// claimOf is the name of the claim behind a volume of a pod, or "".
func claimOf(v corev1.Volume, pod string) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod + "-" + v.Name
	default:
		return ""
	}
}

// volumeOf is the name of the volume of a pod that is this claim.
func volumeOf(spec *corev1.PodSpec, claim string) string {
	for _, v := range spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim {
			return v.Name
		}
	}
	return ""
}

// comparePods puts first the pod that tells most about a workload: one that runs before one that starts, one that stays
// before one that goes; then by name, so that the order never depends on the API server's.
func comparePods(a, b corev1.Pod) int {
	rank := func(p *corev1.Pod) int {
		switch {
		case p.DeletionTimestamp != nil:
			return 2
		case p.Status.Phase != corev1.PodRunning:
			return 1
		default:
			return 0
		}
	}
	return cmp.Or(cmp.Compare(rank(&a), rank(&b)), strings.Compare(a.Name, b.Name))
}

// isMover says whether Cairn made the pod: it holds volumes as others do, but says nothing about the workload.
func isMover(p *corev1.Pod) bool {
	return p.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn
}

// podsOf are the pods that a workload's selector matches and that hold their volumes.
func (r *resolver) podsOf(selector *metav1.LabelSelector) []*corev1.Pod {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil // The API server admits no workload with a selector that does not parse.
	}
	var out []*corev1.Pod
	for i := range r.Pods {
		p := &r.Pods[i]
		if Holds(p) && !isMover(p) && s.Matches(labels.Set(p.Labels)) {
			out = append(out, p)
		}
	}
	return out
}

// mounter is the pod from which a claim's user is taken.
func (r *resolver) mounter(claim string) *corev1.Pod {
	for i := range r.Pods {
		if p := &r.Pods[i]; Holds(p) && !isMover(p) && Mounts(p, claim) {
			return p
		}
	}
	return nil
}

// node is where all these volumes can be mounted. A claim that one node may hold at a time decides; a shared claim that
// pods of several nodes use does not.
func (r *resolver) node(volumes []v1alpha1.ResolvedVolume) (string, *v1alpha1.ResolvedError) {
	node, decidedBy, wish := "", "", ""
	if r.Sidecar {
		return "", nil // the pods are where they are
	}
	for _, v := range volumes {
		if v.ClaimName == "" {
			continue
		}
		claim := r.claims[v.ClaimName]
		if claim == nil || claim.Status.Phase != corev1.ClaimBound {
			return "", fail(v1alpha1.ReasonVolumeNotBound, "PersistentVolumeClaim %s is not bound to a volume: there is nothing to back up yet", v.ClaimName)
		}
		if r.VolumeSnapshots {
			continue // nothing is mounted
		}
		nodes := r.nodesOf(v.ClaimName)
		switch {
		case len(nodes) == 0, r.Copied:
		case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod):
			return "", fail(v1alpha1.ReasonVolumeInUse, "PersistentVolumeClaim %s is ReadWriteOncePod and in use: no second pod can mount it. Set copyMethod Snapshot or Clone, or back it up while no pod uses it", v.ClaimName)
		case shared(claim):
			if wish == "" && len(nodes) == 1 {
				wish = nodes[0]
			}
		case node != "" && node != nodes[0]:
			return "", fail(v1alpha1.ReasonVolumeInUse, "PersistentVolumeClaims %s and %s are in use on different nodes: no pod can mount both. Set copyMethod Snapshot or Clone", decidedBy, v.ClaimName)
		default:
			node, decidedBy = nodes[0], v.ClaimName
		}
	}
	return cmp.Or(node, wish), nil
}

// nodesOf are the nodes of the pods that hold a claim, each once.
func (r *resolver) nodesOf(claim string) []string {
	var nodes []string
	for i := range r.Pods {
		p := &r.Pods[i]
		if Holds(p) && Mounts(p, claim) && !slices.Contains(nodes, p.Spec.NodeName) {
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	return nodes
}

// shared says whether several nodes may mount a claim at a time.
func shared(c *corev1.PersistentVolumeClaim) bool {
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) || slices.Contains(c.Spec.AccessModes, corev1.ReadOnlyMany)
}
