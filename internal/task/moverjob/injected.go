package moverjob

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// SidecarSecurity returns the security context of a container that backs up and restores in somebody else's pod: the
// restricted profile, over it the user, over that the security contexts in asked; later ones win. Settings that the
// restricted profile forbids fail with ErrPrivilegeRequired unless privileged is true.
func SidecarSecurity(
	user v1alpha1.MoverSecurityContext, privileged bool, asked ...*corev1.SecurityContext,
) (*corev1.SecurityContext, error) {
	base := restricted()
	base.ReadOnlyRootFilesystem = new(true)
	base.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	over := &corev1.SecurityContext{
		RunAsUser: user.RunAsUser, RunAsGroup: user.RunAsGroup,
		SELinuxOptions: user.SELinuxOptions,
	}
	if !privileged && !confined(over.SELinuxOptions) {
		return nil, fmt.Errorf("seLinuxOptions with user, role or type %q %w", over.SELinuxOptions.Type,
			ErrPrivilegeRequired)
	}
	out, err := allowed(privileged, base, append([]*corev1.SecurityContext{over}, asked...)...)
	if err != nil {
		return nil, err
	}
	root := out.RunAsUser != nil && *out.RunAsUser == 0
	out.RunAsNonRoot = new(!root)
	if root {
		out.Capabilities.Add = sorted(slices.Concat(out.Capabilities.Add, restoreCapabilities,
			[]corev1.Capability{"DAC_READ_SEARCH"}))
	}
	return out, nil
}

func sorted(in []corev1.Capability) []corev1.Capability {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

// SidecarResources adds small requests to a sidecar that sets none. It idles most of the time, and its requests
// permanently reduce what is left for its neighbours.
func SidecarResources(in corev1.ResourceRequirements) corev1.ResourceRequirements {
	return withDefaultRequests(in, corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("10m"),
		corev1.ResourceMemory: resource.MustParse("64Mi"),
	})
}
