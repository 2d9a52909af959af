package moverjob

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// BackupJobInput is the input for the Job of one host and one Snapshot.
type BackupJobInput struct {
	// Session that owns the Job.
	Session *v1alpha1.BackupSession
	// Snapshot that the Job makes.
	Snapshot *v1alpha1.Snapshot
	// Target, Host and Repository from the session's status.resolved.
	Target     v1alpha1.ResolvedTarget
	Host       v1alpha1.ResolvedHost
	Repository v1alpha1.ResolvedRepository
	// CopiedAt is when each copy that the host reads was asked for, by the claim of the target's volume.
	CopiedAt map[string]metav1.Time
	// OneNode names the claims that the Job mounts itself, not copies of them, and that the pods of one node can mount.
	OneNode []string
	// Attempt is 2 for the Job that repeats one that died.
	Attempt int
	// Storage of the repository.
	Storage *v1alpha1.BackupStorage
	// Credentials as access.EnsureCredentials returned them.
	Credentials Credentials
	// Timeout of the Job; 0 for none.
	Timeout time.Duration
	// Privileged reports whether the Namespace allows root and host paths.
	Privileged bool
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress are the rules for addresses that the manager adds to the built-in ones.
	Egress egress.Rules
}

// BackupJobName returns the name of the Job of one Snapshot and one host.
func BackupJobName(snapshot, host string) string { return policy.JobName("backup", snapshot, host) }

// BackupJob builds the Job that backs up one host's volumes into one Snapshot. It fails with ErrPrivilegeRequired if
// the host needs rights that the namespace does not grant.
func BackupJob(in BackupJobInput) (*batchv1.Job, error) {
	b := backupBlueprint(in)
	for _, v := range in.Host.Volumes {
		if !v.Mounted() {
			continue
		}
		read := volume{
			component: v.Component, claim: v.ClaimName, hostPath: v.HostPath, mountPath: v.MountPath,
			subPath: v.SubPath, readOnly: true,
		}
		if c := in.Target.CopyOf(v.ClaimName); c != nil {
			read.claim, read.readOnlyClaim = c.Name, c.ReadOnly()
		}
		b.volumes = append(b.volumes, read)
	}
	if name := oneNode(in); name != "" {
		b.labels[v1alpha1.LabelReads] = name
		b.beside = in.Host.Node == ""
		b.near = in.Attempt > 1
	}
	b.task = BackupTask(in)
	return b.job()
}

// backupBlueprint returns what all backup Jobs have in common, whatever stores the data.
func backupBlueprint(in BackupJobInput) blueprint {
	return blueprint{
		name:             BackupJobName(in.Snapshot.Name, in.Host.Name),
		namespace:        in.Session.Namespace,
		owner:            controllerOf(v1alpha1.BackupSessionKind, in.Session),
		resolved:         in.Target.Task,
		credentials:      in.Credentials,
		timeout:          in.Timeout,
		security:         securityOf(in.Host.SecurityContext, in.Target.Task.Job),
		privileged:       in.Privileged,
		node:             in.Host.Node,
		rootCapabilities: []corev1.Capability{"DAC_READ_SEARCH"},
		labels: map[string]string{
			v1alpha1.LabelInvokerKind:   in.Session.Spec.Invoker.Kind,
			v1alpha1.LabelInvokerName:   policy.LabelValue(in.Session.Spec.Invoker.Name),
			v1alpha1.LabelSession:       in.Session.Spec.Session,
			v1alpha1.LabelBackupSession: policy.LabelValue(in.Session.Name),
			v1alpha1.LabelConfiguration: policy.LabelValue(in.Target.Configuration),
			v1alpha1.LabelSnapshot:      policy.LabelValue(in.Snapshot.Name),
		},
		annotations: map[string]string{v1alpha1.AnnotationSnapshotUID: string(in.Snapshot.UID)},
	}
}

// oneNode returns the value of LabelReads for a volume that only one node can mount, and that other Jobs can read at
// once: a copy by those of the target, a claim also by those of other runs. It returns "" if there is none. Of several
// it takes the one with the most readers, such as one that all pods of a StatefulSet share.
func oneNode(in BackupJobInput) string {
	name, most := "", 0
	for _, v := range in.Host.Volumes {
		c, n := in.Target.CopyOf(v.ClaimName), readers(in.Target, v.ClaimName)
		switch {
		case name != "" && n <= most:
		case c == nil && slices.Contains(in.OneNode, v.ClaimName):
			name, most = policy.LabelValue(v.ClaimName), n
		case c != nil && n > 1 && len(c.AccessModes) == 1 && c.AccessModes[0] == corev1.ReadWriteOnce:
			name, most = c.Name, n
		}
	}
	return name
}

// readers returns how many Jobs of a target read a claim: one for each repository and each host that has it.
func readers(t v1alpha1.ResolvedTarget, claim string) int {
	n := 0
	for _, h := range t.Hosts {
		if slices.ContainsFunc(h.Volumes, func(v v1alpha1.ResolvedVolume) bool { return v.ClaimName == claim }) {
			n++
		}
	}
	return n * len(t.Repositories)
}

// BackupTask returns the work order for backing up one host's volumes into one Snapshot, by a Job or a sidecar.
func BackupTask(in BackupJobInput) task.Task {
	t := task.Task{
		Kind: task.KindBackup, Cluster: in.ClusterUID, Namespace: in.Session.Namespace, Egress: in.Egress,
		Storage:    StorageOf(in.Storage),
		Repository: resolvedRepository(in.Repository, in.Target.AppRef, in.Target.Task.Driver),
		Snapshot:   snapshotOf(in.Snapshot), DatabaseSecret: secretOf(in.Target.Task.Database),
	}
	for i := range in.Target.Hosts {
		t.Snapshot.Components += int32(len(in.Target.Hosts[i].Volumes))
	}
	if r := in.Session.Status.Resolved; r != nil {
		t.SuccessPolicy = r.SuccessPolicy
	}
	for _, v := range in.Host.Volumes {
		c := task.Component{Name: v.Component, Path: v.Path, Mounts: v.Mounts, Stream: v.Stream}
		if at, copied := in.CopiedAt[v.ClaimName]; copied {
			c.CopiedAt = &at
		}
		t.Components = append(t.Components, c)
	}
	return t
}

// snapshotOf describes a Snapshot to the mover that makes it.
func snapshotOf(s *v1alpha1.Snapshot) *task.Snapshot {
	spec := s.Spec
	return &task.Snapshot{
		Name: s.Name, UID: s.UID, Labels: s.Labels, Spec: &spec,
		HalfRestored: task.RestoreOfMark(s.Annotations[v1alpha1.AnnotationHalfRestored]),
	}
}

// StorageOf describes a storage to a mover.
func StorageOf(s *v1alpha1.BackupStorage) task.Storage {
	return task.Storage{Namespace: s.Namespace, Name: s.Name, UID: s.UID, Spec: *s.Spec.Storage.DeepCopy()}
}

// resolvedRepository describes a repository to a mover that opens it.
func resolvedRepository(
	r v1alpha1.ResolvedRepository, appRef v1alpha1.TypedObjectReference, driver v1alpha1.Driver,
) *task.Repository {
	return &task.Repository{
		Name: r.Name, UID: r.UID, AppRef: appRef, Driver: driver,
		Directory: policy.NormalizeDirectory(r.Directory), MustExist: true,
	}
}

// objectOf names an object.
func objectOf(o metav1.Object) *task.Object { return &task.Object{Name: o.GetName(), UID: o.GetUID()} }
