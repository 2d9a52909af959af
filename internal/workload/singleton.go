package workload

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// singleton merges several hosts into one, so that one Job does the whole target. It refuses to where one pod can't do
// that, because the volumes are on several nodes or the pods run as different users.
func singleton(hosts []v1alpha1.ResolvedHost) ([]v1alpha1.ResolvedHost, *v1alpha1.ResolvedError) {
	if len(hosts) < 2 {
		return hosts, nil
	}
	one := v1alpha1.ResolvedHost{Name: HostTarget, SecurityContext: hosts[0].SecurityContext}
	for _, h := range hosts {
		if h.Node != "" && one.Node != "" && h.Node != one.Node {
			return nil, Fail(v1alpha1.ReasonInvalidTask,
				"the task is a singleton, but one Job can't reach the volumes of all pods: some are in use on node "+
					"%s, some on node %s. Use a task that is not a singleton", one.Node, h.Node)
		}
		if !reflect.DeepEqual(h.SecurityContext, one.SecurityContext) {
			return nil, Fail(v1alpha1.ReasonInvalidTask,
				"the task is a singleton, but the pods of the target run as different users: use a task that is not "+
					"a singleton")
		}
		one.Node = cmp.Or(one.Node, h.Node)
		for _, v := range h.Volumes {
			// One component is enough for a claim that all pods share.
			same := func(other v1alpha1.ResolvedVolume) bool {
				return v.ClaimName != "" && other.ClaimName == v.ClaimName && other.Path == v.Path
			}
			if !slices.ContainsFunc(one.Volumes, same) {
				one.Volumes = append(one.Volumes, v)
			}
		}
	}
	return []v1alpha1.ResolvedHost{one}, nil
}
