package task

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// RestoreJobInput is everything that the Job of a restore is built from.
type RestoreJobInput struct {
	// Session that the Job belongs to, and that owns it.
	Session *v1alpha1.RestoreSession
	// Resolved is the session's status.resolved.
	Resolved v1alpha1.ResolvedRestore
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

// RestoreJobName is the name of the Job of one RestoreSession and one component.
func RestoreJobName(session, component string) string {
	return policy.JobName("restore", session, component)
}

// restoreCapabilities let root write what belongs to others and give it back to them.
var restoreCapabilities = []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"}

// RestoreJob builds the Job that restores one component into one volume. It fails with ErrPrivilegeRequired where the
// namespace does not allow root and the restore asks for it.
func RestoreJob(in RestoreJobInput) (*batchv1.Job, error) {
	r := in.Resolved
	b := blueprint{
		name:             RestoreJobName(in.Session.Name, r.Component),
		namespace:        in.Session.Namespace,
		owner:            controllerOf(v1alpha1.RestoreSessionKind, in.Session),
		image:            r.Task.Image,
		args:             r.Task.Args,
		credentials:      in.Credentials,
		timeout:          in.Timeout,
		template:         r.Task.Job,
		security:         securityOf(r.SecurityContext, r.Task.Job),
		privileged:       in.Privileged,
		node:             r.Node,
		rootCapabilities: restoreCapabilities,
		volumes:          []volume{{component: r.Component, claim: r.ClaimName}},
		labels: map[string]string{
			v1alpha1.LabelRestoreSession: policy.LabelValue(in.Session.Name),
			v1alpha1.LabelSnapshot:       policy.LabelValue(r.Snapshot),
		},
		task: Task{
			Kind: KindRestore, Cluster: in.ClusterUID, Namespace: in.Session.Namespace,
			Storage:        storageOf(in.Storage),
			Repository:     resolvedRepository(r.Repository, in.AppRef, r.Task.Driver),
			Snapshot:       &Snapshot{Name: r.Snapshot, UID: r.SnapshotUID},
			RestoreSession: objectOf(in.Session),
			Components:     []Component{{Name: r.Component, Path: r.Path, ID: r.ID}},
		},
	}
	return b.job()
}
