package task

import (
	"errors"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// KindVolumeSnapshot makes VolumeSnapshots and waits until they can be used.
const KindVolumeSnapshot Kind = "volume-snapshot"

// EnvJob is the environment variable with the name of the pod's Job, for pods that make objects in the cluster.
const EnvJob = "CAIRN_JOB"

// VolumeSnapshot is a VolumeSnapshot that the mover makes of a claim.
type VolumeSnapshot struct {
	// Names in the order of preference: the mover uses the first that is free or already belongs to this Snapshot.
	Names []string `json:"names"`
	// Claim that it is made of, and Class that it is made with.
	Claim string `json:"claim"`
	Class string `json:"class"`
}

// VolumeSnapshotJob builds the Job that makes the VolumeSnapshots of one host. Its pod mounts no volume, and its only
// credential is its token for v1alpha1.SnapshotterServiceAccount. The input needs neither Storage nor Credentials.
func VolumeSnapshotJob(in BackupJobInput) (*batchv1.Job, error) {
	b := backupBlueprint(in)
	b.account = v1alpha1.SnapshotterServiceAccount
	b.task = Task{
		Kind: KindVolumeSnapshot, Cluster: in.ClusterUID, Namespace: in.Session.Namespace,
		Snapshot: snapshotOf(in.Snapshot),
	}
	for _, v := range in.Host.Volumes {
		b.task.Components = append(b.task.Components, Component{Name: v.Component, Snapshot: &VolumeSnapshot{
			Names: []string{
				v.Snapshot.Name, policy.QualifiedVolumeSnapshotName(v.ClaimName, in.Session.CreationTimestamp.Time,
					in.Session.Namespace, in.Snapshot.Name),
			},
			Claim: v.ClaimName, Class: v.Snapshot.ClassName,
		}})
	}
	return b.job()
}

// checkVolumeSnapshots reports what the task of a VolumeSnapshotJob lacks.
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
