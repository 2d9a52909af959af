package moverjob

import (
	batchv1 "k8s.io/api/batch/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// VolumeSnapshotJob builds the Job that makes the VolumeSnapshots of one host. Its pod mounts no volume, and its only
// credential is its token for v1alpha1.SnapshotterServiceAccount. The input needs neither Storage nor Credentials.
func VolumeSnapshotJob(in BackupJobInput) (*batchv1.Job, error) {
	b := backupBlueprint(in)
	b.account = v1alpha1.SnapshotterServiceAccount
	b.task = task.Task{
		Kind: task.KindVolumeSnapshot, Cluster: in.ClusterUID, Namespace: in.Session.Namespace,
		Snapshot: snapshotOf(in.Snapshot),
	}
	for _, v := range in.Host.Volumes {
		b.task.Components = append(b.task.Components, task.Component{Name: v.Component, Snapshot: &task.VolumeSnapshot{
			Names: []string{
				v.Snapshot.Name, policy.QualifiedVolumeSnapshotName(v.ClaimName, in.Session.CreationTimestamp.Time,
					in.Session.Namespace, in.Snapshot.Name),
			},
			Claim: v.ClaimName, Class: v.Snapshot.ClassName,
		}})
	}
	return b.job()
}
