package moverjob

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ErrPrivilegeRequired means that a Job needs more rights than its namespace grants: root, a host path, or another
// setting that the restricted Pod Security profile forbids.
var ErrPrivilegeRequired = errors.New("needs the annotation " + v1alpha1.AnnotationPrivilegedMovers +
	`: "true" on the Namespace`)

// DefaultUser is the user and group of movers if neither the target's pod nor policy sets one. It is also the group
// that owns a local storage.
const DefaultUser int64 = 65532

// podSecurity returns the security context of the pod.
func (b blueprint) podSecurity() (*corev1.PodSecurityContext, error) {
	user := DefaultUser
	if b.security.RunAsUser != nil {
		user = *b.security.RunAsUser
	}
	group := user
	if b.security.RunAsGroup != nil {
		group = *b.security.RunAsGroup
	}
	if user == 0 && !b.privileged {
		return nil, fmt.Errorf("runAsUser 0 %w", ErrPrivilegeRequired)
	}
	if options := b.security.SELinuxOptions; !b.privileged && !confined(options) {
		return nil, fmt.Errorf("seLinuxOptions with user, role or type %q %w", options.Type, ErrPrivilegeRequired)
	}
	pod := &corev1.PodSecurityContext{
		RunAsUser: &user, RunAsGroup: &group,
		RunAsNonRoot:       new(user != 0),
		SupplementalGroups: b.security.SupplementalGroups,
		SELinuxOptions:     b.security.SELinuxOptions,
		SeccompProfile:     &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if b.resolved.Database != nil {
		pod.Sysctls = keepalive()
	}
	if b.targetGroup && user != 0 {
		policy := corev1.FSGroupChangeOnRootMismatch
		pod.FSGroup, pod.FSGroupChangePolicy = &group, &policy
	}
	if local := b.task.Storage.Spec.Local; local != nil {
		if b.storageGroup {
			policy := corev1.FSGroupChangeOnRootMismatch
			pod.FSGroup, pod.FSGroupChangePolicy = new(DefaultUser), &policy
		} else {
			pod.SupplementalGroups = withGroup(pod.SupplementalGroups, DefaultUser)
		}
	}
	return pod, nil
}

// keepalive makes the kernel probe a silent database: first after a minute, and two and a half minutes after the
// database's node or pod vanished, the program that reads from it ends. The kernel's default is two hours. Programs
// enable keepalives, but not all can set the interval. Kubernetes counts these settings as safe.
func keepalive() []corev1.Sysctl {
	return []corev1.Sysctl{
		{Name: "net.ipv4.tcp_keepalive_time", Value: "60"},
		{Name: "net.ipv4.tcp_keepalive_intvl", Value: "15"},
		{Name: "net.ipv4.tcp_keepalive_probes", Value: "6"},
	}
}

// confinedTypes are the SELinux types that the restricted Pod Security profile allows.
var confinedTypes = []string{"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}

// confined reports whether the restricted Pod Security profile allows the options. It always allows a level.
func confined(o *corev1.SELinuxOptions) bool {
	return o == nil || o.User == "" && o.Role == "" && slices.Contains(confinedTypes, o.Type)
}

// withGroup returns the groups with group added if it is missing.
func withGroup(groups []int64, group int64) []int64 {
	out := make([]int64, 0, len(groups)+1)
	for _, g := range groups {
		if g == group {
			return groups
		}
		out = append(out, g)
	}
	return append(out, group)
}

// securityOf returns the host's security context, completed by the policy's where the host's sets nothing.
func securityOf(host v1alpha1.MoverSecurityContext, template *v1alpha1.JobPodSpec) v1alpha1.MoverSecurityContext {
	if template == nil || template.SecurityContext == nil {
		return host
	}
	t := template.SecurityContext
	host.RunAsUser = cmp.Or(host.RunAsUser, t.RunAsUser)
	host.RunAsGroup = cmp.Or(host.RunAsGroup, t.RunAsGroup)
	host.SELinuxOptions = cmp.Or(host.SELinuxOptions, t.SELinuxOptions)
	if len(host.SupplementalGroups) == 0 {
		host.SupplementalGroups = t.SupplementalGroups
	}
	return host
}
