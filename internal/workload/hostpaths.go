package workload

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// nodeOfHostPaths returns the node whose host paths are those of the target, because pods of the target run there. It
// returns "" if no host path can hold data. Each node can have a directory of that name, with other files, so nothing
// but the pods says which one holds the data. spec is that of the target's pods, and pods are all of them.
func (r *Resolver) nodeOfHostPaths(
	target string, spec *corev1.PodSpec, volumes []v1alpha1.ResolvedVolume, pods []*corev1.Pod,
) (string, *v1alpha1.ResolvedError) {
	i := slices.IndexFunc(volumes, func(v v1alpha1.ResolvedVolume) bool { return holdsHostData(spec, v.HostPath) })
	if i < 0 || r.Copied { // checkForCopies refuses host paths
		return "", nil
	}
	nodes, moving := nodesOfPods(pods)
	if len(nodes) == 0 && moving != nil && r.AwaitNodes {
		return "", Fail(v1alpha1.ReasonVolumeMoving,
			"component %s is the host path %s, and pod %s has no node yet, or leaves it", volumes[i].Component,
			volumes[i].HostPath, moving.Name)
	}
	if len(nodes) == 0 && moving != nil && keepsMounted(moving) {
		nodes = []string{moving.Spec.NodeName}
	}
	switch len(nodes) {
	case 0:
		return "", Fail(v1alpha1.ReasonNoRunningPod,
			"component %s is the host path %s, and no running pod of %s says on which node: scale it up, use a "+
				"DaemonSet, or leave the volume out with the parameter paths",
			volumes[i].Component, volumes[i].HostPath, target)
	case 1:
		return nodes[0], nil
	default:
		return "", Fail(v1alpha1.ReasonNoVolumes,
			"component %s is the host path %s, and the pods of %s run on several nodes, such as %s and %s, each with "+
				"files of its own: use a DaemonSet, or leave the volume out with the parameter paths",
			volumes[i].Component, volumes[i].HostPath, target, nodes[0], nodes[1])
	}
}

// nodesOfPods returns the nodes of the pods that stay, each once and sorted, and a pod that has no node yet or leaves
// it, or nil.
func nodesOfPods(pods []*corev1.Pod) (nodes []string, moving *corev1.Pod) {
	for _, p := range pods {
		switch {
		case observe.PodEnded(p):
		case !keepsMounted(p) || p.DeletionTimestamp != nil:
			if moving == nil || keepsMounted(p) {
				moving = p
			}
		case !slices.Contains(nodes, p.Spec.NodeName):
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	slices.Sort(nodes)
	return nodes, moving
}

// holdsHostData reports whether a host path of a pod can hold its data. A time zone that is mounted read-only, or a
// socket, is the same on each node.
func holdsHostData(spec *corev1.PodSpec, hostPath string) bool {
	return hostPath != "" && slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool {
		return v.HostPath != nil && covers(path.Clean(v.HostPath.Path), hostPath) && canHoldData(spec, &v)
	})
}

// nodeOfPod returns the node of the host paths of one pod of a StatefulSet. It returns "" if nothing needs it: the
// pod's own sidecar reads its host paths, and the caller knows the node of a DaemonSet's pod.
func (r *Resolver) nodeOfPod(name string, volumes []v1alpha1.ResolvedVolume) (string, *v1alpha1.ResolvedError) {
	if r.StatefulSet == nil || r.Sidecar {
		return "", nil
	}
	var pods []*corev1.Pod
	for i := range r.Pods {
		if p := &r.Pods[i]; p.Name == name && !IsMover(p) {
			pods = append(pods, p)
		}
	}
	return r.nodeOfHostPaths("StatefulSet/"+r.StatefulSet.Name, &r.StatefulSet.Spec.Template.Spec, volumes, pods)
}
