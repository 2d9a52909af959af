package workload

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// keepsMounted reports whether a pod keeps its volumes mounted: it has a node and has not ended.
func keepsMounted(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && !observe.PodEnded(p)
}

// Mounts reports whether a pod uses a PersistentVolumeClaim, directly or through an ephemeral volume.
func Mounts(p *corev1.Pod, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return claimOf(v, p.Name) == claim })
}

// ClaimsOfPod returns the names of the PersistentVolumeClaims that a pod uses.
func ClaimsOfPod(p *corev1.Pod) []string {
	var out []string
	for _, v := range p.Spec.Volumes {
		if claim := claimOf(v, p.Name); claim != "" {
			out = append(out, claim)
		}
	}
	return out
}

// claimOf returns the name of the claim behind a volume of a pod, or "".
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

// volumeOf returns the name of the volume of a pod that uses this claim, or "".
func volumeOf(spec *corev1.PodSpec, claim string) string {
	for _, v := range spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim {
			return v.Name
		}
	}
	return ""
}

// comparePods sorts the pod that says most about a workload first: running pods before starting ones, staying pods
// before those being deleted. Ties are sorted by name, so the order never depends on the API server.
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

// IsMover reports whether Cairn made the pod. Such a pod mounts volumes like others, but says nothing about the
// workload.
func IsMover(p *corev1.Pod) bool {
	return p.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByCairn
}

// nodeOfDaemonPod returns the node that a pod of a DaemonSet is for. The DaemonSet's controller names it in the pod's
// affinity before the scheduler has found room for the pod.
func nodeOfDaemonPod(p *corev1.Pod) string {
	a := p.Spec.Affinity
	if p.Spec.NodeName != "" || a == nil || a.NodeAffinity == nil ||
		a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return p.Spec.NodeName
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// podsOf returns the pods of a workload, in any phase.
func (r *Resolver) podsOf(workload metav1.Object) []*corev1.Pod {
	s := SelectionOf(workload)
	var out []*corev1.Pod
	for i := range r.Pods {
		if p := &r.Pods[i]; !IsMover(p) && s.Has(p) {
			out = append(out, p)
		}
	}
	return out
}

// mounter returns the pod that provides the user for backing up a claim, or nil. One that passes does so only if there
// is no other: its user need not be the one whose files they are.
func (r *Resolver) mounter(claim string) *corev1.Pod {
	var passes *corev1.Pod
	for i := range r.Pods {
		switch p := &r.Pods[i]; {
		case !keepsMounted(p) || IsMover(p) || !Mounts(p, claim):
		case !Transient(p):
			return p
		case passes == nil:
			passes = p
		}
	}
	return passes
}

// node returns the node on which all these volumes can be mounted, or "" for any node. A claim that only one node can
// mount decides. A shared claim that pods on several nodes use does not. If the volumes have host paths, at is their
// node: then no claim may need another one. wish is the node that is taken if no claim needs another one.
func (r *Resolver) node(volumes []v1alpha1.ResolvedVolume, at, wish string) (string, *v1alpha1.ResolvedError) {
	node, decidedBy := at, ""
	if r.Sidecar {
		return at, nil // a sidecar runs where its pod is
	}
	for _, v := range volumes {
		if v.ClaimName == "" {
			continue
		}
		claim, err := r.readable(v.ClaimName)
		if err != nil {
			return "", err
		}
		if r.VolumeSnapshots {
			continue // nothing is mounted
		}
		nodes := r.NodesOf(v.ClaimName)
		switch {
		case len(nodes) == 0, r.Copied:
		case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod):
			if r.mounter(v.ClaimName) == nil {
				continue // only movers use it, and they take turns
			}
			return "", Fail(v1alpha1.ReasonVolumeInUse,
				"PersistentVolumeClaim %s is ReadWriteOncePod and in use, so no second pod can mount it: set "+
					"copyMethod Snapshot or Clone, or back it up while no pod uses it", v.ClaimName)
		case IsShared(claim):
			if wish == "" && len(nodes) == 1 {
				wish = nodes[0]
			}
		case at != "":
			if !slices.Contains(nodes, at) {
				return "", Fail(v1alpha1.ReasonVolumeInUse,
					"PersistentVolumeClaim %s is in use on node %s, but the host paths are those of %s, so no pod can "+
						"mount both: leave one of them out with the parameter paths", v.ClaimName, nodes[0], at)
			}
		case node != "" && node != nodes[0]:
			return "", Fail(v1alpha1.ReasonVolumeInUse,
				"PersistentVolumeClaims %s and %s are in use on different nodes, so no pod can mount both: set "+
					"copyMethod Snapshot or Clone", decidedBy, v.ClaimName)
		default:
			node, decidedBy = nodes[0], v.ClaimName
		}
	}
	return cmp.Or(node, wish), nil
}

// readable returns a claim, or refuses it because nothing can read it now.
func (r *Resolver) readable(name string) (*corev1.PersistentVolumeClaim, *v1alpha1.ResolvedError) {
	claim := r.Claims[name]
	if claim == nil {
		return nil, Fail(v1alpha1.ReasonVolumeNotBound, "there is no PersistentVolumeClaim %s: create it", name)
	}
	if claim.Status.Phase != corev1.ClaimBound {
		return nil, Fail(v1alpha1.ReasonVolumeNotBound,
			"PersistentVolumeClaim %s is not bound to a volume: there is nothing to back up before a pod uses it", name)
	}
	if !r.VolumeSnapshots {
		// First: a pod that waits can get a new claim of the name before the run goes on.
		if err := r.awaitsNode(claim); err != nil {
			return nil, err
		}
	}
	if going := Going(claim, r.Pods); going != "" {
		return nil, Fail(v1alpha1.ReasonVolumeNotBound, "%s", going)
	}
	return claim, nil
}

// maxHolders is how many pods Going names.
const maxHolders = 3

// Going explains why nothing can use a claim that is being deleted: Kubernetes starts no pod with it, and CSI drivers
// do not copy it. It names the pods for which Kubernetes keeps the claim, as far as they are among pods. It returns ""
// for a claim that stays.
func Going(claim *corev1.PersistentVolumeClaim, pods []corev1.Pod) string {
	if claim.DeletionTimestamp == nil {
		return ""
	}
	out := "PersistentVolumeClaim " + claim.Name + " is being deleted, so nothing else can use it: try again when " +
		"another one has its place"
	var holders []string
	for i := range pods {
		// Kubernetes counts a pod as soon as it has a node, and as long as it exists.
		if p := &pods[i]; p.Spec.NodeName != "" && Mounts(p, claim.Name) {
			holders = append(holders, p.Name)
		}
	}
	if len(holders) == 0 {
		return out
	}
	slices.Sort(holders)
	if len(holders) > maxHolders {
		holders = append(holders[:maxHolders], "and others")
	}
	return out + ". It goes when these pods are gone: " + strings.Join(holders, ", ")
}

// moving returns a pod that uses a claim and gets its node only later, or leaves it, while no pod stays on a node with
// the claim. It returns nil if there is none.
func (r *Resolver) moving(claim string) *corev1.Pod {
	var found *corev1.Pod
	for i := range r.Pods {
		p := &r.Pods[i]
		switch {
		case observe.PodEnded(p) || IsMover(p) || !Mounts(p, claim):
		case p.Spec.NodeName != "" && !leaves(p):
			return nil
		case found == nil:
			found = p
		}
	}
	return found
}

// awaitsNode refuses a claim that only one node can mount, as long as a pod that uses it can still choose that node: a
// mover that is faster would keep the volume from the pod until the end of the backup.
func (r *Resolver) awaitsNode(claim *corev1.PersistentVolumeClaim) *v1alpha1.ResolvedError {
	p := r.moving(claim.Name)
	if p == nil || !r.AwaitNodes || r.Copied || IsShared(claim) {
		return nil
	}
	what := "has no node yet"
	switch {
	case p.DeletionTimestamp != nil:
		what = "is being deleted, and another one can take its place"
	case p.Spec.NodeName != "":
		what = "is on a node that no longer answers"
	}
	return Fail(v1alpha1.ReasonVolumeMoving, "pod %s uses PersistentVolumeClaim %s and %s", p.Name, claim.Name, what)
}

// NodesOf returns the nodes of the pods that mount a claim, each once, and first those of pods that stay. A mover whose
// node was lost does not count: its pod would bind all later ones to that node until somebody deletes it.
func (r *Resolver) NodesOf(claim string) []string {
	var nodes []string
	for _, leaves := range []bool{false, true} {
		for i := range r.Pods {
			p := &r.Pods[i]
			if IsMover(p) && observe.Lost(p) {
				continue
			}
			if keepsMounted(p) && Mounts(p, claim) && leaves == (p.DeletionTimestamp != nil) &&
				!slices.Contains(nodes, p.Spec.NodeName) {
				nodes = append(nodes, p.Spec.NodeName)
			}
		}
	}
	return nodes
}

// IsShared reports whether several nodes can mount a claim at the same time.
func IsShared(c *corev1.PersistentVolumeClaim) bool {
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) ||
		slices.Contains(c.Spec.AccessModes, corev1.ReadOnlyMany)
}
