package sidecar

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// SessionSettings is what one session of a BackupConfiguration asks of a workload's sidecar.
type SessionSettings struct {
	// By names the session in messages.
	By string
	// Volumes of the pod, by name, that the session backs up.
	Volumes []string
	// User that reads the volumes.
	User v1alpha1.MoverSecurityContext
	// Container holds the resolved settings of the session's mover. Only its Resources, SecurityContext, Env and
	// EnvFrom count.
	Container corev1.Container
}

// Settings are what a workload's sidecar is made of, apart from its image. They depend only on policy and the workload,
// never on the version of the manager: they leave out defaults that the manager adds.
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

// Merge returns the settings of the one sidecar that all wishes share: all volumes, the largest amount of each
// resource, and the user of the first wish. The order of the wishes must depend on policy alone. Merge fails if two
// wishes contradict each other. Privileged means that the namespace allows root.
func Merge(wishes []SessionSettings, privileged bool) (*Settings, error) {
	out := &Settings{Privileged: privileged}
	for i, w := range wishes {
		if i == 0 {
			out.User, out.Security, out.EnvFrom = w.User, w.Container.SecurityContext, w.Container.EnvFrom
		}
		if what := contradiction(out, &w.Container); what != "" {
			return nil,
				fmt.Errorf("%s and %s share one sidecar but set another %s: set the same in both, or use executor "+
					"Job in one", wishes[0].By, w.By, what)
		}
		out.Volumes = append(out.Volumes, w.Volumes...)
		raiseTo(&out.Resources.Requests, w.Container.Resources.Requests)
		raiseTo(&out.Resources.Limits, w.Container.Resources.Limits)
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

// contradiction names a setting in which the container differs from the settings, or returns "".
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

// raiseTo raises the quantities in to that are smaller than those in from.
func raiseTo(to *corev1.ResourceList, from corev1.ResourceList) {
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
