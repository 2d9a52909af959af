package sidecar

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Wish is what one session of one BackupConfiguration wants of a workload's sidecar.
type Wish struct {
	// By names the session, for a sentence.
	By string
	// Volumes of the pod, by name, that the session backs up.
	Volumes []string
	// User that reads them.
	User v1alpha1.MoverSecurityContext
	// Container is what was resolved for the session's mover. Resources, SecurityContext, Env and EnvFrom of it count.
	Container corev1.Container
}

// Settings are what the sidecar of a workload is made of, beside its image. They come from policy and the workload alone, never
// from the version of the manager: what is added to them by default is not among them.
type Settings struct {
	Volumes    []string                      `json:"volumes,omitempty"`
	User       v1alpha1.MoverSecurityContext `json:"user"`
	Privileged bool                          `json:"privileged,omitempty"`
	Security   *corev1.SecurityContext       `json:"security,omitempty"`
	Resources  corev1.ResourceRequirements   `json:"resources"`
	Env        []corev1.EnvVar               `json:"env,omitempty"`
	EnvFrom    []corev1.EnvFromSource        `json:"envFrom,omitempty"`
}

// Digest identifies the settings.
func (s *Settings) Digest() string { return policy.Digest(s) }

// Merge gives the settings of the one sidecar that all these wishes share: all volumes, of each resource the most that one asks
// for, the user of the first. The order of the wishes must depend on policy alone. It fails where two of them can't both be met.
// Privileged says whether the namespace allows root.
func Merge(wishes []Wish, privileged bool) (*Settings, error) {
	out := &Settings{Privileged: privileged}
	for i, w := range wishes {
		if i == 0 {
			out.User, out.Security, out.EnvFrom = w.User, w.Container.SecurityContext, w.Container.EnvFrom
		}
		if what := contradiction(out, &w.Container); what != "" {
			return nil, fmt.Errorf("%s and %s want another %s, and share one sidecar: say the same in both, or take executor Job in one", wishes[0].By, w.By, what)
		}
		out.Volumes = append(out.Volumes, w.Volumes...)
		most(&out.Resources.Requests, w.Container.Resources.Requests)
		most(&out.Resources.Limits, w.Container.Resources.Limits)
		for _, e := range w.Container.Env {
			if find(out.Env, e.Name) == nil {
				out.Env = append(out.Env, e)
			}
		}
	}
	slices.Sort(out.Volumes)
	out.Volumes = slices.Compact(out.Volumes)
	return out, nil
}

// contradiction says what of the settings a container would have otherwise, or "".
func contradiction(s *Settings, c *corev1.Container) string {
	if !equality.Semantic.DeepEqual(s.Security, c.SecurityContext) {
		return "securityContext"
	}
	if !equality.Semantic.DeepEqual(s.EnvFrom, c.EnvFrom) {
		return "envFrom"
	}
	for _, e := range c.Env {
		if known := find(s.Env, e.Name); known != nil && !equality.Semantic.DeepEqual(*known, e) {
			return "variable " + e.Name
		}
	}
	return ""
}

func find(env []corev1.EnvVar, name string) *corev1.EnvVar {
	for i := range env {
		if env[i].Name == name {
			return &env[i]
		}
	}
	return nil
}

// most raises the quantities of to that are smaller in it.
func most(to *corev1.ResourceList, from corev1.ResourceList) {
	for name, quantity := range from {
		if known, ok := (*to)[name]; ok && known.Cmp(quantity) >= 0 {
			continue
		}
		if *to == nil {
			*to = corev1.ResourceList{}
		}
		(*to)[name] = quantity.DeepCopy()
	}
}
