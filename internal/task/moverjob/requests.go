package moverjob

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// withRequests adds small default requests.
func withRequests(in corev1.ResourceRequirements) corev1.ResourceRequirements {
	return withDefaultRequests(in, corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("50m"),
		corev1.ResourceMemory: resource.MustParse("128Mi"),
	})
}

// withDefaultRequests adds the given requests where none are set, within the limits.
func withDefaultRequests(in corev1.ResourceRequirements, defaults corev1.ResourceList) corev1.ResourceRequirements {
	out := *in.DeepCopy()
	for name, quantity := range defaults {
		if _, asked := out.Requests[name]; asked {
			continue
		}
		if limit, limited := out.Limits[name]; limited && limit.Cmp(quantity) < 0 {
			quantity = limit
		}
		if out.Requests == nil {
			out.Requests = corev1.ResourceList{}
		}
		out.Requests[name] = quantity
	}
	return out
}

// privilegedVolumes reports a volume that the restricted profile forbids and the namespace does not allow.
func privilegedVolumes(volumes []corev1.Volume, privileged bool) error {
	for _, v := range volumes {
		if what := excessVolume(v); what != "" && !privileged {
			return fmt.Errorf("volume %s with %s %w", v.Name, what, ErrPrivilegeRequired)
		}
	}
	return nil
}
