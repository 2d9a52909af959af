package workload

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// checkForSidecars refuses what only Jobs can do.
func checkForSidecars(t Target, hosts []v1alpha1.ResolvedHost) *v1alpha1.ResolvedError {
	switch {
	case t.Claim != nil:
		return Fail(v1alpha1.ReasonSidecarNotPossible,
			"a PersistentVolumeClaim has no pods in which a sidecar could run: use executor Job")
	case t.Singleton && len(hosts) > 1:
		return Fail(v1alpha1.ReasonSidecarNotPossible,
			"the task is a singleton, but the sidecar of one pod can't reach the volumes of the others: use executor "+
				"Job")
	}
	for i := range hosts {
		for _, v := range hosts[i].Volumes {
			if !validName(v.Volume) {
				return Fail(v1alpha1.ReasonSidecarNotPossible,
					"component %s is not on a volume of its pod: use executor Job", v.Component)
			}
		}
	}
	return nil
}

func validName(volume string) bool { return volume != "" && !strings.Contains(volume, "/") }

// IsSidecar reports whether sidecars back the target up.
func IsSidecar(t *v1alpha1.ResolvedTarget) bool { return t.Executor == v1alpha1.ExecutorSidecar }

// MountsAs reports whether a pod has the claim as the volume with this name.
func MountsAs(p *corev1.Pod, volume, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == volume && claimOf(v, p.Name) == claim
	})
}

// Mounted reports whether a pod has all volumes of a host as they were resolved. A pod from before the workload was
// given other claims has its old claims under the same names. They would be backed up instead.
func Mounted(p *corev1.Pod, h *v1alpha1.ResolvedHost) bool {
	return len(h.Volumes) > 0 && !slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedVolume) bool {
		return !slices.ContainsFunc(p.Spec.Volumes, func(has corev1.Volume) bool {
			return has.Name == v.Volume && claimOf(has, p.Name) == v.ClaimName && hostPathOf(has) == v.HostPath
		})
	})
}

func hostPathOf(v corev1.Volume) string {
	if v.HostPath == nil {
		return ""
	}
	return v.HostPath.Path
}
