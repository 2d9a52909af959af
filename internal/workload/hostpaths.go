package workload

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// nodeOfHostPaths returns the node whose host paths are those of the target, because pods of the target run there. It
// returns "" if no volume is a host path. Each node can have a directory of that name, with other files, so nothing but
// the pods says which one holds the data.
func (r *Resolver) nodeOfHostPaths(
	target string, volumes []v1alpha1.ResolvedVolume, pods []*corev1.Pod,
) (string, *v1alpha1.ResolvedError) {
	i := slices.IndexFunc(volumes, func(v v1alpha1.ResolvedVolume) bool { return v.HostPath != "" })
	if i < 0 || r.Copied { // checkForCopies refuses host paths
		return "", nil
	}
	var nodes []string
	for _, p := range pods {
		if !slices.Contains(nodes, p.Spec.NodeName) {
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	slices.Sort(nodes)
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

// nodeOfPod returns the node of the host paths of one pod of a StatefulSet. It returns "" if nothing needs it: the
// pod's own sidecar reads its host paths, and the caller knows the node of a DaemonSet's pod.
func (r *Resolver) nodeOfPod(name string, volumes []v1alpha1.ResolvedVolume) (string, *v1alpha1.ResolvedError) {
	if r.StatefulSet == nil || r.Sidecar {
		return "", nil
	}
	var pods []*corev1.Pod
	for i := range r.Pods {
		if p := &r.Pods[i]; p.Name == name && keepsMounted(p) {
			pods = append(pods, p)
		}
	}
	return r.nodeOfHostPaths("StatefulSet/"+r.StatefulSet.Name, volumes, pods)
}
