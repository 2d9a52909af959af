package task

import (
	"errors"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// KindVolumeSnapshot makes VolumeSnapshots and waits until they can be used.
const KindVolumeSnapshot Kind = "volume-snapshot"

// EnvJob is the variable in which a pod that makes objects in the cluster finds the name of its Job.
const EnvJob = "CAIRN_JOB"

// VolumeSnapshot is a VolumeSnapshot that is to be made of a claim.
type VolumeSnapshot struct {
	// Names that it may have: the first that is free, or is this Snapshot's already.
	Names []string `json:"names"`
	// Claim that it is made of, and Class that it is made with.
	Claim string `json:"claim"`
	Class string `json:"class"`
}

// VolumeSnapshotJob builds the Job that makes the VolumeSnapshots of one host. Its pod mounts no volume and has no credential but its
// token, that of v1alpha1.SnapshotterServiceAccount. In has neither Storage nor Credentials.
func VolumeSnapshotJob(in BackupJobInput) (*batchv1.Job, error) {
	b := backupBlueprint(in)
	b.account = v1alpha1.SnapshotterServiceAccount
	b.task = Task{
		Kind: KindVolumeSnapshot, Cluster: in.ClusterUID, Namespace: in.Session.Namespace,
		Snapshot: snapshotOf(in.Snapshot),
	}
	for _, v := range in.Host.Volumes {
		b.task.Components = append(b.task.Components, Component{Name: v.Component, Snapshot: &VolumeSnapshot{
			Names: []string{v.Snapshot.Name, policy.QualifiedVolumeSnapshotName(v.ClaimName, in.Session.CreationTimestamp.Time, in.Session.Namespace, in.Snapshot.Name)},
			Claim: v.ClaimName, Class: v.Snapshot.ClassName,
		}})
	}
	return b.job()
}

// checkVolumeSnapshots says what is missing of the task of a VolumeSnapshotJob.
func (t Task) checkVolumeSnapshots() error {
	switch {
	case t.Snapshot == nil || t.Snapshot.Name == "" || t.Snapshot.UID == "":
		return errors.New("no snapshot")
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
