package task

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Restore is how a restore treats what its volumes hold.
type Restore struct {
	// Overwrite allows to write into a volume that is not empty, and says what becomes of a file that is there. Empty: the
	// volume must be empty.
	Overwrite v1alpha1.OverwritePolicy `json:"overwrite,omitempty"`
	// DeleteExtra deletes what is in the volume and not in the snapshot.
	DeleteExtra bool `json:"deleteExtra,omitempty"`
	// Verify reads back what was written and compares it with the repository.
	Verify bool `json:"verify,omitempty"`
	// Group says that the volumes were given to the mover's group when they were mounted.
	Group bool `json:"group,omitempty"`
}

// RestoreJobInput is everything that the Job of one host of a restore is built from.
type RestoreJobInput struct {
	// Name of the Job.
	Name string
	// Session that the Job belongs to, and that owns it.
	Session *v1alpha1.RestoreSession
	// Resolved is the session's status.resolved, and Host one of its hosts.
	Resolved v1alpha1.ResolvedRestore
	Host     v1alpha1.ResolvedRestoreHost
	// Restore is how it treats what is in the volumes.
	Restore Restore
	// Resume names the components whose volumes an attempt before wrote into when they were empty.
	Resume map[string]bool
	// AppRef is what the Snapshot is of.
	AppRef v1alpha1.TypedObjectReference
	// Storage of the repository.
	Storage *v1alpha1.BackupStorage
	// Credentials as access.EnsureCredentials gave them.
	Credentials Credentials
	// Timeout of the Job; 0 is none.
	Timeout time.Duration
	// Privileged says whether the Namespace allows root.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
}

// RestoreJobName is the name of the first Job of one RestoreSession and one host.
func RestoreJobName(session, host string) string { return policy.JobName("restore", session, host) }

// restoreCapabilities let root write what belongs to others and give it back to them.
var restoreCapabilities = []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"}

// RestoreJob builds the Job that restores one host's components into its volumes. It fails with ErrPrivilegeRequired where
// the namespace does not allow root and the restore asks for it. With Restore.Group the kubelet gives the volumes to the
// mover's group: they must be known to be empty.
func RestoreJob(in RestoreJobInput) (*batchv1.Job, error) {
	r, t := in.Resolved, RestoreTask(in)
	b := blueprint{
		name:             in.Name,
		namespace:        in.Session.Namespace,
		owner:            controllerOf(v1alpha1.RestoreSessionKind, in.Session),
		resolved:         r.Task,
		credentials:      in.Credentials,
		timeout:          in.Timeout,
		security:         securityOf(in.Host.SecurityContext, r.Task.Job),
		privileged:       in.Privileged,
		node:             in.Host.Node,
		rootCapabilities: restoreCapabilities,
		targetGroup:      in.Restore.Group,
		labels: map[string]string{
			v1alpha1.LabelRestoreSession: policy.LabelValue(in.Session.Name),
			v1alpha1.LabelSnapshot:       policy.LabelValue(r.Snapshot),
		},
	}
	for _, v := range in.Host.Volumes {
		if !v.Mounted() {
			continue
		}
		b.volumes = append(b.volumes, volume{component: v.Component, claim: v.ClaimName})
	}
	b.task = t
	return b.job()
}

// RestoreTask is what restores one host's components into its volumes, whoever does it.
func RestoreTask(in RestoreJobInput) Task {
	r := in.Resolved
	restore := in.Restore
	t := Task{
		Kind: KindRestore, Cluster: in.ClusterUID, Namespace: in.Session.Namespace,
		Storage:        storageOf(in.Storage),
		Repository:     resolvedRepository(r.Repository, in.AppRef, r.Task.Driver),
		Snapshot:       &Snapshot{Name: r.Snapshot, UID: r.SnapshotUID},
		RestoreSession: objectOf(in.Session),
		Restore:        &restore,
	}
	for _, v := range in.Host.Volumes {
		t.Components = append(t.Components, Component{
			Name: v.Component, Path: v.Path, ID: v.ID, Resume: in.Resume[v.Component], Stream: v.Stream, Files: v.Files, Bytes: v.Bytes,
		})
	}
	return t
}

// CanTakeGroup says whether the volumes of a restore's pod may be given to the mover's group when they are mounted: it is not
// root, which needs none, and no other volume that keeps data, which belongs to others, is mounted beside them.
func CanTakeGroup(host v1alpha1.MoverSecurityContext, t v1alpha1.ResolvedTask, storage *v1alpha1.BackupStorage) bool {
	for _, v := range t.Volumes {
		if v.EmptyDir == nil && v.ConfigMap == nil && v.Secret == nil && v.DownwardAPI == nil && v.Projected == nil {
			return false
		}
	}
	s := securityOf(host, t.Job)
	return (s.RunAsUser == nil || *s.RunAsUser != 0) && storage.Spec.Storage.Local == nil
}
