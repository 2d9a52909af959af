package moverjob

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// restricted returns a security context within the restricted Pod Security profile.
func restricted() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// excess names a setting of a container's security context that the restricted Pod Security profile forbids, or returns
// "".
func excess(c *corev1.SecurityContext) string {
	is := func(p *bool, value bool) bool { return p != nil && *p == value }
	switch {
	case c == nil:
		return ""
	case is(c.Privileged, true):
		return "privileged"
	case is(c.AllowPrivilegeEscalation, true):
		return "allowPrivilegeEscalation"
	case c.Capabilities != nil && slices.ContainsFunc(c.Capabilities.Add,
		func(c corev1.Capability) bool { return c != "NET_BIND_SERVICE" }):
		return "capabilities.add"
	case c.RunAsUser != nil && *c.RunAsUser == 0:
		return "runAsUser 0"
	case is(c.RunAsNonRoot, false):
		return "runAsNonRoot false"
	case !confined(c.SELinuxOptions):
		return fmt.Sprintf("seLinuxOptions with user, role or type %q", c.SELinuxOptions.Type)
	case c.SeccompProfile != nil && c.SeccompProfile.Type == corev1.SeccompProfileTypeUnconfined:
		return "seccompProfile Unconfined"
	case c.AppArmorProfile != nil && c.AppArmorProfile.Type == corev1.AppArmorProfileTypeUnconfined:
		return "appArmorProfile Unconfined"
	case c.ProcMount != nil && *c.ProcMount != corev1.DefaultProcMount:
		return "procMount " + string(*c.ProcMount)
	}
	return ""
}

// unconfined returns the annotation with which a pod leaves its AppArmor profile, as in releases before the field
// appArmorProfile, or "".
func unconfined(annotations map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) &&
			annotations[key] == corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return key
		}
	}
	return ""
}

// excessVolume names the source of a volume that the restricted profile does not allow, or returns "".
func excessVolume(v corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil, v.Ephemeral != nil, v.CSI != nil, v.EmptyDir != nil, v.ConfigMap != nil,
		v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		return ""
	case v.VolumeSource == (corev1.VolumeSource{}): // the API server makes it an emptyDir
		return ""
	case v.HostPath != nil:
		return "hostPath"
	case v.NFS != nil:
		return "nfs"
	}
	return "a source that the restricted Pod Security profile does not allow"
}

// allowed overlays base with the security contexts in asked; later ones win. Settings that the restricted profile
// forbids need a namespace that allows them.
func allowed(
	privileged bool, base *corev1.SecurityContext, asked ...*corev1.SecurityContext,
) (*corev1.SecurityContext, error) {
	out := base
	for _, a := range asked {
		if what := excess(a); what != "" && !privileged {
			return nil, fmt.Errorf("securityContext with %s %w", what, ErrPrivilegeRequired)
		}
		out = catalog.Overlay(out, a)
	}
	if out.RunAsUser != nil && *out.RunAsUser == 0 && out.RunAsNonRoot == nil {
		out.RunAsNonRoot = new(false)
	}
	if out.Privileged != nil && *out.Privileged {
		// The API server refuses a container with both settings.
		out.AllowPrivilegeEscalation = nil
	}
	return out, nil
}

// applyJobTemplate applies a jobTemplate to a pod, except for security and volumes.
func applyJobTemplate(pod *corev1.PodSpec, t *v1alpha1.JobPodSpec, privileged bool) error {
	if t == nil {
		return nil
	}
	if strings.HasPrefix(t.PriorityClassName, policy.SystemPriorityPrefix) && !privileged {
		return fmt.Errorf("priorityClassName %s %w", t.PriorityClassName, ErrPrivilegeRequired)
	}
	t = t.DeepCopy()
	pod.NodeSelector, pod.Tolerations, pod.Affinity = t.NodeSelector, t.Tolerations, t.Affinity
	pod.TopologySpreadConstraints = t.TopologySpreadConstraints
	pod.SchedulerName, pod.PriorityClassName, pod.RuntimeClassName = t.SchedulerName, t.PriorityClassName,
		t.RuntimeClassName
	pod.Priority = t.Priority
	pod.ImagePullSecrets, pod.DNSPolicy, pod.DNSConfig = t.ImagePullSecrets, t.DNSPolicy, t.DNSConfig
	catalog.Set(&pod.EnableServiceLinks, t.EnableServiceLinks)
	catalog.Set(&pod.TerminationGracePeriodSeconds, t.TerminationGracePeriodSeconds)
	if t.ServiceAccountName != "" && t.ServiceAccountName != pod.ServiceAccountName {
		if !privileged {
			return fmt.Errorf("serviceAccountName %s %w", t.ServiceAccountName, ErrPrivilegeRequired)
		}
		pod.ServiceAccountName = t.ServiceAccountName
	}
	return nil
}

// labelled adds labels to Cairn's own. Cairn's own win.
func labelled(own, asked map[string]string) map[string]string {
	out := maps.Clone(asked)
	if out == nil {
		out = make(map[string]string, len(own))
	}
	maps.Copy(out, own)
	return out
}
