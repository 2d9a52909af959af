package pushgateway

import (
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Backup is an ended BackupSession and what is known of the objects that it made.
type Backup struct {
	Session *v1alpha1.BackupSession
	// Now is the time of the push.
	Now time.Time
	// Snapshots by name.
	Snapshots map[string]*v1alpha1.Snapshot
	// Repositories by name, and Storages by the name of the Repository.
	Repositories map[string]*v1alpha1.Repository
	Storages     map[string]*v1alpha1.BackupStorage
}

// BackupSet returns Stash's metrics of a backup. They have the additional label session, because an invoker has
// several sessions. What failed has only its success, which is 0.
func BackupSet(b Backup) *Set {
	s, invoker := &b.Session.Status, b.Session.Spec.Invoker
	set := &Set{job: jobOf(invoker.Kind, b.Session.Namespace, invoker.Name)}
	run := prometheus.Labels{
		"invoker_kind": invoker.Kind, "invoker_name": invoker.Name, "namespace": b.Session.Namespace,
		"session": b.Session.Spec.Session, "driver": "", "repository": "",
	}
	if s.Resolved == nil || len(s.Resolved.Targets) == 0 {
		set.session(run, &b)
		return set
	}
	for i := range s.Resolved.Targets {
		target := &s.Resolved.Targets[i]
		run = with(run, "driver", string(target.Task.Driver))
		repositories := target.Repositories
		if len(repositories) == 0 { // a mistake was found before any pod started
			repositories = []v1alpha1.ResolvedRepository{{}}
		}
		for _, repository := range repositories {
			labels := with(run, "repository", repository.Name)
			set.session(labels, &b)
			set.target(with(labels, "kind", target.AppRef.Kind, "group", target.AppRef.APIGroup, "name",
				target.AppRef.Name),
				target, b.Snapshots[repository.Snapshot], b.Now)
			set.repository(b, repository.Name)
		}
	}
	return set
}

// outcome returns the group with these labels that holds the result of the last run. A push replaces all of it.
func (s *Set) outcome(labels prometheus.Labels, names ...string) *group {
	return s.group(true, labels, names)
}

// lasting returns the group with these labels that a failure does not change.
func (s *Set) lasting(labels prometheus.Labels, names ...string) *group {
	return s.group(false, labels, names)
}

func (s *Set) session(labels prometheus.Labels, b *Backup) {
	status := &b.Session.Status
	ok := status.Phase == v1alpha1.BackupSessionSucceeded
	s.outcome(labels, "session").gauge("backupsession_success", "backup_session_success",
		"Whether the last session succeeded.", success(ok), labels)
	if !ok || status.StartTime == nil || status.CompletionTime == nil {
		return
	}
	g := s.lasting(labels, "session", "repository")
	g.gauge("backupsession_duration_seconds", "backup_session_duration_seconds", "Duration of the session.",
		took(status.StartTime, status.CompletionTime), labels)
	g.gauge("backupsession_target_count_total", "backup_target_count_total", "Targets of the session.",
		float64(len(status.Targets)), labels)
	if at := b.ended(); at != nil {
		g.gauge("backupsession_last_success_time_seconds", "backup_last_success_time_seconds",
			"When the last session that succeeded ended.", float64(at.Unix()), labels)
	}
}

// ofTarget lists the labels that identify a target. A retry does not have all targets of its session.
var ofTarget = []string{"session", "kind", "group", "name"}

func (s *Set) target(
	labels prometheus.Labels, target *v1alpha1.ResolvedTarget, snapshot *v1alpha1.Snapshot, now time.Time,
) {
	ok := snapshot != nil && snapshot.Status.Phase == v1alpha1.SnapshotSucceeded
	s.outcome(labels, ofTarget...).gauge("backupsession_target_success", "backup_target_success",
		"Whether the last backup of the target succeeded.", success(ok), labels)
	if ok {
		g := s.lasting(labels, append(ofTarget, "repository")...)
		g.gauge("backupsession_target_host_count_total", "backup_target_host_count_total", "Hosts of the target.",
			float64(len(target.Hosts)), labels)
		if at := snapshot.PassedBy(now); at != nil {
			g.gauge("backupsession_target_last_success_time_seconds", "backup_target_last_success_time_seconds",
				"When the last backup of the target that succeeded ended.", float64(at.Unix()), labels)
		}
	}
	for i := range target.Hosts {
		s.host(with(labels, "hostname", target.Hosts[i].Name), &target.Hosts[i], snapshot)
	}
}

func (s *Set) host(labels prometheus.Labels, host *v1alpha1.ResolvedHost, snapshot *v1alpha1.Snapshot) {
	ok := snapshot != nil && len(host.Volumes) > 0
	var size, uploaded, files int64
	var over span
	for _, volume := range host.Volumes {
		if snapshot == nil {
			break
		}
		component, found := snapshot.Status.Components[volume.Component]
		ok = ok && found && component.Phase == v1alpha1.SnapshotSucceeded
		size, uploaded, files = size+component.SizeBytes, uploaded+component.UploadedBytes, files+component.Files
		over.add(component.StartTime, component.CompletionTime)
	}
	s.outcome(labels, ofTarget...).gauge("backupsession_host_backup_success", "backup_host_backup_success",
		"Whether the last backup of the host succeeded.", success(ok), labels)
	if !ok {
		return
	}
	g := s.lasting(labels, append(ofTarget, "repository")...)
	g.gauge("backupsession_host_backup_duration_seconds", "backup_host_backup_duration_seconds",
		"Duration of the host's backup.", over.seconds(), labels)
	g.gauge("backupsession_host_data_size_bytes", "backup_host_data_size_bytes", "What the host's backup restores to.",
		float64(size), labels)
	g.gauge("backupsession_host_data_uploaded_bytes", "backup_host_data_uploaded_bytes",
		"What the host's backup has added to the repository.", float64(uploaded), labels)
	g.gauge("backupsession_host_data_processing_time_seconds", "backup_host_data_processing_time_seconds",
		"Time that the mover worked.", over.seconds(), labels)
	g.gauge("backupsession_host_files_total", "backup_host_files_total", "Files in the host's backup.", float64(files),
		labels)
}

func (s *Set) repository(b Backup, name string) {
	r := b.Repositories[name]
	if r == nil {
		return
	}
	labels := prometheus.Labels{
		"name": name, "namespace": r.Namespace, "backend": "", "bucket": "",
		"prefix": strings.Trim(r.Spec.Path, "/"),
	}
	if storage := b.Storages[name]; storage != nil {
		bucket, prefix := place(&storage.Spec.Storage)
		labels["backend"], labels["bucket"] = string(storage.Spec.Storage.Provider), bucket
		labels["prefix"] = strings.Trim(path.Join(prefix, r.Spec.Path), "/")
	}
	g := s.lasting(labels, "name")
	if n := r.Status.SnapshotCount; n != nil {
		g.gauge("repository_snapshot_count", "repository_snapshot_count", "Snapshots of the repository that succeeded.",
			float64(*n), labels)
	}
	if n := r.Status.StoredBytes; n != nil {
		g.gauge("repository_size_bytes", "repository_size_bytes",
			"What the repository held when it was maintained last.",
			float64(*n), labels)
	}
	if ok := r.Status.Integrity; ok != nil {
		g.gauge("repository_integrity", "repository_integrity",
			"Whether the last check of the repository found everything.",
			success(*ok), labels)
	}
}

// place returns where a storage begins: its bucket, and the prefix in it.
func place(s *v1alpha1.Storage) (bucket, prefix string) {
	switch {
	case s.S3 != nil:
		return s.S3.Bucket, s.S3.Prefix
	case s.GCS != nil:
		return s.GCS.Bucket, s.GCS.Prefix
	case s.Azure != nil:
		return s.Azure.Container, s.Azure.Prefix
	case s.Local != nil:
		return "", s.Local.SubPath
	case s.SFTP != nil:
		return "", s.SFTP.Prefix
	case s.WebDAV != nil:
		return "", s.WebDAV.Prefix
	}
	return "", ""
}

// span reaches from the first beginning to the last end of several components.
type span struct{ from, until *metav1.Time }

func (s *span) add(from, until *metav1.Time) {
	if s.from == nil || from != nil && from.Before(s.from) {
		s.from = from
	}
	if s.until == nil || until != nil && s.until.Before(until) {
		s.until = until
	}
}

func (s *span) seconds() float64 { return took(s.from, s.until) }

// took returns the seconds between two times, 0 if one is not known.
func took(from, until *metav1.Time) float64 {
	if from == nil || until == nil {
		return 0
	}
	return until.Sub(from.Time).Round(time.Second).Seconds()
}

// RestoreSet returns Stash's metrics of an ended RestoreSession. A failed RestoreSession has only the metric of
// its success, which is 0.
func RestoreSet(r *v1alpha1.RestoreSession) *Set {
	set := &Set{job: jobOf(v1alpha1.RestoreSessionKind, r.Namespace, r.Name)}
	g := set.outcome(nil)
	ok := r.Status.Phase == v1alpha1.RestoreSessionSucceeded
	labels := prometheus.Labels{
		"invoker_kind": v1alpha1.RestoreSessionKind, "invoker_name": r.Name, "namespace": r.Namespace, "driver": "",
		"repository": "",
	}
	var hosts []v1alpha1.ResolvedRestoreHost
	if resolved := r.Status.Resolved; resolved != nil {
		labels["driver"], labels["repository"], hosts = string(resolved.Task.Driver), resolved.Repository.Name,
			resolved.Hosts
	}
	g.gauge("restoresession_success", "restore_session_success", "Whether the restore succeeded.", success(ok), labels)
	if ok {
		g.gauge("restoresession_duration_seconds", "restore_session_duration_seconds", "Duration of the restore.",
			took(r.Status.StartTime, r.Status.CompletionTime), labels)
		g.gauge("restoresession_target_count_total", "restore_target_count_total", "Targets of the restore.", 1, labels)
	}
	if r.Spec.Target == nil {
		return set
	}
	target := with(labels, "kind", r.Spec.Target.Kind, "group", r.Spec.Target.APIGroup, "name", r.Spec.Target.Name)
	g.gauge("restoresession_target_success", "restore_target_success", "Whether the restore of the target succeeded.",
		success(ok), target)
	if ok {
		g.gauge("restoresession_target_host_count_total", "restore_target_host_count_total", "Hosts of the target.",
			float64(len(hosts)), target)
	}
	for i := range hosts {
		g.restoredHost(with(target, "hostname", hosts[i].Name), &hosts[i], r.Status.Components)
	}
	return set
}

func (g *group) restoredHost(labels prometheus.Labels, host *v1alpha1.ResolvedRestoreHost,
	components map[string]v1alpha1.RestoredComponent,
) {
	var over span
	ok := len(host.Volumes) > 0
	for _, volume := range host.Volumes {
		component, found := components[volume.Component]
		ok = ok && found && component.Phase == v1alpha1.RestoreSessionSucceeded
		over.add(component.StartTime, component.CompletionTime)
	}
	g.gauge("restoresession_host_restore_success", "restore_host_restore_success",
		"Whether the restore of the host succeeded.", success(ok), labels)
	if ok {
		g.gauge("restoresession_host_restore_duration_seconds", "restore_host_restore_duration_seconds",
			"Duration of the host's restore.",
			over.seconds(), labels)
	}
}
