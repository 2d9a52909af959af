package task

import (
	"errors"
)

// KindVolumeSnapshot makes VolumeSnapshots and waits until they can be used.
const KindVolumeSnapshot Kind = "volume-snapshot"

// EnvJob is the environment variable with the name of the pod's Job, for pods that make objects in the cluster.
const EnvJob = "CAIRN_JOB"

// VolumeSnapshot is a VolumeSnapshot that the mover makes of a claim.
type VolumeSnapshot struct {
	// Names in the order of preference: the mover uses the first that is free or already belongs to this Snapshot.
	Names []string `json:"names"`
	// Claim is the source, and Class the VolumeSnapshotClass.
	Claim string `json:"claim"`
	Class string `json:"class"`
}

// checkVolumeSnapshots reports what the task of a moverjob.VolumeSnapshotJob lacks.
func (t Task) checkVolumeSnapshots() error {
	switch {
	case t.Snapshot == nil || t.Snapshot.Name == "" || t.Snapshot.UID == "":
		return errors.New("no Snapshot")
	case len(t.Components) == 0:
		return errors.New("no components")
	}
	for _, c := range t.Components {
		if s := c.Snapshot; s == nil || len(s.Names) == 0 || s.Claim == "" || s.Class == "" {
			return errors.New("component " + c.Name + " has no VolumeSnapshot")
		}
	}
	return nil
}
