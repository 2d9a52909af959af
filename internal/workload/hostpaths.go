package workload

import (
	"path"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// nodeOfHostPaths returns the node whose host paths are those of the target, because pods of the target run there. Each
// node can have a directory of that name, with other files, so nothing but the pods says which one holds the data. A
// host path that the target only reads, such as its media or a time zone, is read there, too, but need not be: wish is
// its node, and "" where the pods do not name one. spec is that of the target's pods, and pods are all of them.
func (r *Resolver) nodeOfHostPaths(
	target string, spec *corev1.PodSpec, volumes []v1alpha1.ResolvedVolume, pods []*corev1.Pod,
) (at, wish string, refusal *v1alpha1.ResolvedError) {
	v, data := hostPathIn(spec, volumes)
	if v == nil || r.Copied || r.Sidecar && !data { // checkForCopies refuses host paths
		return "", "", nil
	}
	found := placeOf(pods)
	if r.AwaitNodes && found.moving != nil {
		return "", "", Fail(v1alpha1.ReasonVolumeMoving,
			"component %s is the host path %s, and pod %s has no node yet, or leaves it", v.Component, v.HostPath,
			found.moving.Name)
	}
	nodes := found.nodes
	if len(nodes) == 0 && found.moving != nil && keepsMounted(found.moving) {
		nodes = []string{found.moving.Spec.NodeName}
	}
	switch {
	case len(nodes) == 1 && data:
		return nodes[0], "", nil
	case len(nodes) == 1:
		return "", nodes[0], nil
	case !data:
		return "", "", nil
	case len(nodes) == 0:
		return "", "", Fail(v1alpha1.ReasonNoRunningPod,
			"component %s is the host path %s, and no running pod of %s says on which node: scale it up, use a "+
				"DaemonSet, or leave the volume out with the parameter paths",
			v.Component, v.HostPath, target)
	default:
		return "", "", Fail(v1alpha1.ReasonNoVolumes,
			"component %s is the host path %s, and the pods of %s run on several nodes, such as %s and %s, each with "+
				"files of its own: use a DaemonSet, or leave the volume out with the parameter paths",
			v.Component, v.HostPath, target, nodes[0], nodes[1])
	}
}

// place is where the pods of a workload run.
type place struct {
	// nodes are those of the pods that stay, each once and sorted.
	nodes []string
	// moving is a pod that has no node yet, or leaves it, while nodes do not say where the workload will run. It is nil
	// if there is none.
	moving *corev1.Pod
}

// placeOf returns where the pods of a workload run. Those of a revision that is not ready yet do not count beside those
// that are: a rollout begins, or is stuck.
func placeOf(pods []*corev1.Pod) place {
	var out place
	var stay []*corev1.Pod
	ready := map[string]bool{}
	for _, p := range pods {
		switch {
		case observe.PodEnded(p):
		case !keepsMounted(p) || p.DeletionTimestamp != nil:
			if out.moving == nil || keepsMounted(p) {
				out.moving = p
			}
		default:
			stay = append(stay, p)
			if observe.PodReady(p) {
				ready[revisionOf(p)] = true
			}
		}
	}
	if len(ready) > 0 {
		stay = slices.DeleteFunc(stay, func(p *corev1.Pod) bool { return !ready[revisionOf(p)] })
	}
	for _, p := range stay {
		if !slices.Contains(out.nodes, p.Spec.NodeName) {
			out.nodes = append(out.nodes, p.Spec.NodeName)
		}
	}
	slices.Sort(out.nodes)
	switch {
	case len(out.nodes) == 1, len(out.nodes) > 1 && !moves(stay):
		out.moving = nil
	case len(out.nodes) > 1:
		out.moving = stay[0]
	}
	return out
}

// moves reports whether a rollout takes a workload from one node to another: it runs on several, but each of its
// revisions on one.
func moves(pods []*corev1.Pod) bool {
	nodes := map[string]string{}
	for _, p := range pods {
		if node, known := nodes[revisionOf(p)]; known && node != p.Spec.NodeName {
			return false
		}
		nodes[revisionOf(p)] = p.Spec.NodeName
	}
	return true
}

// revisionOf returns what tells the pods of a Deployment before a rollout from those after it.
func revisionOf(p *corev1.Pod) string { return p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] }

// hostPathIn returns a volume that is a host path, and whether it can hold data of the workload: first one that can. It
// returns nil if there is none. A socket or a device is the same on each node.
func hostPathIn(
	spec *corev1.PodSpec, volumes []v1alpha1.ResolvedVolume,
) (found *v1alpha1.ResolvedVolume, data bool) {
	for i := range volumes {
		for j := range spec.Volumes {
			v := &spec.Volumes[j]
			switch {
			case v.HostPath == nil || isDeviceFile(v.HostPath) ||
				!covers(path.Clean(v.HostPath.Path), volumes[i].HostPath):
			case canHoldData(spec, v):
				return &volumes[i], true
			case found == nil:
				found = &volumes[i]
			}
		}
	}
	return found, false
}

// nodeOfPod returns what nodeOfHostPaths returns for one pod of a StatefulSet. It returns "" if nothing needs it: the
// pod's own sidecar reads its host paths, and the caller knows the node of a DaemonSet's pod.
func (r *Resolver) nodeOfPod(
	name string, volumes []v1alpha1.ResolvedVolume,
) (at, wish string, refusal *v1alpha1.ResolvedError) {
	s := r.StatefulSet
	if s == nil || r.Sidecar {
		return "", "", nil
	}
	spec := &s.Spec.Template.Spec
	var pods []*corev1.Pod
	if _, data := hostPathIn(spec, volumes); r.Singleton && !data {
		pods = r.podsOf(s) // one Job reads the volumes of all pods
	} else {
		for i := range r.Pods {
			if p := &r.Pods[i]; p.Name == name && !IsMover(p) {
				pods = append(pods, p)
			}
		}
	}
	return r.nodeOfHostPaths("StatefulSet/"+s.Name, spec, volumes, pods)
}
