package task

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
)

const (
	// KindVolumeRestore makes claims from VolumeSnapshots and waits until they have their volumes.
	KindVolumeRestore Kind = "volume-restore"
	// KindVolumeMount only mounts claims. Some claims get their volumes when a pod mounts them.
	KindVolumeMount Kind = "volume-mount"
)

// Claim is a PersistentVolumeClaim that a mover makes.
type Claim struct {
	// Object to create.
	Object *corev1.PersistentVolumeClaim `json:"object"`
	// Wait reports whether the mover waits until the claim has its volume.
	Wait bool `json:"wait,omitempty"`
}

// checkVolumeRestore reports what the task of a moverjob.VolumeRestoreJob or moverjob.VolumeMountJob lacks.
func (t Task) checkVolumeRestore() error {
	switch {
	case t.RestoreSession == nil || t.RestoreSession.UID == "":
		return errors.New("no RestoreSession")
	case len(t.Components) == 0:
		return errors.New("no components")
	}
	for _, c := range t.Components {
		if t.Kind == KindVolumeRestore && (c.Claim == nil || c.Claim.Object == nil || c.Claim.Object.Name == "") {
			return errors.New("component " + c.Name + " has no claim")
		}
	}
	return nil
}
