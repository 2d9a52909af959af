package restore

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ProvisionedBy is the annotation with which a provisioner marks the volumes that it made.
const ProvisionedBy = "pv.kubernetes.io/provisioned-by"

// PresentClaim identifies a claim that exists, and its volume.
type PresentClaim struct {
	// UID is the UID of the claim.
	UID types.UID
	// Volume is the UID of its PersistentVolume, or "" if it has none, or if nobody needs to know.
	Volume types.UID
}

// Unfinished returns a host with only the components that are not done. What an earlier attempt restored is in use by
// now, or may be: another attempt does not write it again.
func Unfinished(
	h *v1alpha1.ResolvedRestoreHost, components map[string]v1alpha1.RestoredComponent,
) *v1alpha1.ResolvedRestoreHost {
	out := h.DeepCopy()
	out.Volumes = nil
	for i := range h.Volumes {
		if !components[h.Volumes[i].Component].Phase.Terminal() {
			out.Volumes = append(out.Volumes, h.Volumes[i])
		}
	}
	return out
}

// frozenClaim returns the UID of the claim that a component is restored into, or "" if that is not known.
func frozenClaim(v *v1alpha1.ResolvedRestoreVolume, c v1alpha1.RestoredComponent) types.UID {
	return cmp.Or(c.ClaimUID, v.ClaimUID)
}

// KnowsVolume reports whether an earlier attempt learned something about the volume of a component.
func KnowsVolume(c v1alpha1.RestoredComponent) bool { return c.TargetWritten || c.TargetEmpty }

// Settle returns a component with the claim that its Job will write to. What an earlier attempt knew of a claim or a
// volume does not count for another one that has taken its name. Settle reports whether it changed the component.
func Settle(
	v *v1alpha1.ResolvedRestoreVolume, c v1alpha1.RestoredComponent, now PresentClaim,
) (v1alpha1.RestoredComponent, bool) {
	changed := false
	if KnowsVolume(c) && (now.UID != frozenClaim(v, c) || now.Volume != c.VolumeUID) {
		c.TargetWritten, c.TargetEmpty, c.VolumeUID, changed = false, false, "", true
	}
	if v.Template > 0 && c.ClaimUID != now.UID {
		c.ClaimUID, changed = now.UID, true
	}
	return c, changed
}

// MadeEmpty reports whether a claim that a restore made has, or will get, a volume without data: one that is made for
// it, and of nothing. volume is nil if the claim has none yet.
func MadeEmpty(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) bool {
	s := claim.Spec
	switch {
	case s.DataSource != nil, s.DataSourceRef != nil, s.Selector != nil,
		s.StorageClassName != nil && *s.StorageClassName == "":
		return false
	case s.VolumeName == "":
		return true
	}
	return volume != nil && volume.Annotations[ProvisionedBy] != "" &&
		!volume.CreationTimestamp.Before(&claim.CreationTimestamp)
}

// present reports whether it is known which of the restore's claims still exist, or whether that does not matter. If it
// is known, present fails the restored components whose claims are gone, and notes into which volumes the others wrote.
func (r *runner) present() bool {
	s := &r.d.Status
	for i := range s.Resolved.Hosts {
		for j := range s.Resolved.Hosts[i].Volumes {
			v := &s.Resolved.Hosts[i].Volumes[j]
			c := s.Components[v.Component]
			claim := frozenClaim(v, c)
			filled := c.Phase == v1alpha1.RestoreSessionSucceeded || c.Phase == v1alpha1.RestoreSessionUnknown
			seen := r.Claims[v.ClaimName]
			if claim == "" || seen.UID == claim && seen.Wrong == "" || !filled && !KnowsVolume(c) {
				continue
			}
			if r.Present == nil {
				r.d.Look = true
				return false
			}
			switch now := r.Present[v.ClaimName]; {
			case filled && now.UID != claim:
				c.Phase, c.Reason = v1alpha1.RestoreSessionFailed, v1alpha1.ReasonTargetNotFound
				c.Error = fmt.Sprintf("PersistentVolumeClaim %s was deleted after it had been filled, and before the "+
					"restore ended: restore the component again", v.ClaimName)
			case !filled && now.UID == claim && c.VolumeUID == "":
				c.VolumeUID = now.Volume
			}
			s.Components[v.Component] = c
		}
	}
	return true
}
