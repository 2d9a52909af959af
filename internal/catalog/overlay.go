package catalog

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Overlay returns base with every field that over sets. Dropped capabilities stay dropped.
func Overlay(base, over *corev1.SecurityContext) *corev1.SecurityContext {
	if base == nil || over == nil {
		return cmp.Or(base, over).DeepCopy()
	}
	out, o := base.DeepCopy(), over.DeepCopy()
	Set(&out.Privileged, o.Privileged)
	Set(&out.SELinuxOptions, o.SELinuxOptions)
	Set(&out.RunAsUser, o.RunAsUser)
	Set(&out.RunAsGroup, o.RunAsGroup)
	Set(&out.RunAsNonRoot, o.RunAsNonRoot)
	Set(&out.ReadOnlyRootFilesystem, o.ReadOnlyRootFilesystem)
	Set(&out.AllowPrivilegeEscalation, o.AllowPrivilegeEscalation)
	Set(&out.ProcMount, o.ProcMount)
	Set(&out.SeccompProfile, o.SeccompProfile)
	Set(&out.AppArmorProfile, o.AppArmorProfile)
	if o.Capabilities != nil {
		if out.Capabilities == nil {
			out.Capabilities = &corev1.Capabilities{}
		}
		out.Capabilities.Add = append(out.Capabilities.Add, o.Capabilities.Add...)
		for _, c := range o.Capabilities.Drop {
			if !slices.Contains(out.Capabilities.Drop, c) && !slices.Contains(out.Capabilities.Drop, "ALL") {
				out.Capabilities.Drop = append(out.Capabilities.Drop, c)
			}
		}
	}
	return out
}

// Set replaces a value by another one, unless that is nil.
func Set[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}
