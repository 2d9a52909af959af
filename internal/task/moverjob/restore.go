package moverjob

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// RestoreJobInput is the input for the Job of one host of a restore.
type RestoreJobInput struct {
	// Name of the Job.
	Name string
	// Session that owns the Job.
	Session *v1alpha1.RestoreSession
	// Resolved is the session's status.resolved, and Host one of its hosts.
	Resolved v1alpha1.ResolvedRestore
	Host     v1alpha1.ResolvedRestoreHost
	// Restore describes how it treats the content of the volumes.
	Restore task.Restore
	// Resume names the components into whose volumes a previous attempt wrote when they were empty.
	Resume map[string]bool
	// AppRef is the object that the Snapshot is of.
	AppRef v1alpha1.TypedObjectReference
	// Storage of the repository.
	Storage *v1alpha1.BackupStorage
	// Credentials as access.EnsureCredentials returned them.
	Credentials Credentials
	// Timeout of the Job; 0 for none.
	Timeout time.Duration
	// Privileged reports whether the Namespace allows root.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress are the rules for addresses that the manager adds to the built-in ones.
	Egress egress.Rules
}

// RestoreJobName returns the name of the first Job of one RestoreSession and one host.
func RestoreJobName(session, host string) string { return policy.JobName("restore", session, host) }

// restoreCapabilities let root write files of other users and restore their owners.
var restoreCapabilities = []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"}

// RestoreJob builds the Job that restores one host's components into its volumes. It fails with ErrPrivilegeRequired if
// the restore asks for root and the namespace does not allow it. With Restore.Group, the kubelet gives the volumes to
// the mover's group; the caller must know that they are empty.
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

// RestoreTask returns the work order for restoring one host's components into its volumes, by a Job or a sidecar.
func RestoreTask(in RestoreJobInput) task.Task {
	r := in.Resolved
	restore := in.Restore
	if source := in.Session.Spec.DataSource; source != nil && source.EncryptionSecret != nil {
		restore.EncryptionSecret = source.EncryptionSecret.In(in.Session.Namespace).String()
	}
	t := task.Task{
		Kind: task.KindRestore, Cluster: in.ClusterUID, Namespace: in.Session.Namespace, Egress: in.Egress,
		Storage:        StorageOf(in.Storage),
		Repository:     resolvedRepository(r.Repository, in.AppRef, r.Task.Driver),
		Snapshot:       &task.Snapshot{Name: r.Snapshot, UID: r.SnapshotUID},
		RestoreSession: objectOf(in.Session),
		Restore:        &restore,
		DatabaseSecret: secretOf(r.Task.Database),
	}
	for _, v := range in.Host.Volumes {
		t.Components = append(t.Components, task.Component{
			Name: v.Component, Path: v.Path, Mounts: v.Mounts, ID: v.ID, Resume: in.Resume[v.Component],
			Stream: v.Stream, Files: v.Files, Bytes: v.Bytes,
		})
	}
	return t
}

// CanTakeGroup reports whether the kubelet is allowed to give the volumes of a restore's pod to the mover's group. It
// is not if the mover is root, which needs no group, or if another volume with data is mounted too, whose owners would
// change.
func CanTakeGroup(host v1alpha1.MoverSecurityContext, t v1alpha1.ResolvedTask, storage *v1alpha1.BackupStorage) bool {
	for _, v := range t.Volumes {
		if v.EmptyDir == nil && v.ConfigMap == nil && v.Secret == nil && v.DownwardAPI == nil && v.Projected == nil {
			return false
		}
	}
	s := securityOf(host, t.Job)
	return (s.RunAsUser == nil || *s.RunAsUser != 0) && storage.Spec.Storage.Local == nil
}
