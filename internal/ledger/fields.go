package ledger

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The functions of this file list every field that a record holds. They build new values instead of clearing fields
// of old ones: a field that is added to the API stays out until somebody decides that it can be published. Left out
// on purpose are: parameters, arguments and pod templates, which can hold credentials; the definitions and the output
// of hooks, for the same reason; paths inside volumes, security contexts and progress; what the record itself would
// change; and what only repeats another field, such as the times of targets, which follow from those of components.

// backupDocument leaves out the short form of Snapshots whose own documents follow.
func backupDocument(cluster string, s *v1alpha1.BackupSession, full []v1alpha1.Snapshot) document {
	spec := v1alpha1.BackupSessionSpec{
		Invoker: s.Spec.Invoker, Session: s.Spec.Session,
		ScheduledTime: s.Spec.ScheduledTime, BackupTimeout: s.Spec.BackupTimeout, AcceptShrink: s.Spec.AcceptShrink,
		RetryLeft: s.Spec.RetryLeft, RetryOf: s.Spec.RetryOf,
	}
	in := &s.Status
	status := v1alpha1.BackupSessionStatus{
		Conditions: keptConditions(in.Conditions),
		Phase:      in.Phase, Reason: in.Reason,
		StartTime: in.StartTime, CompletionTime: in.CompletionTime, Duration: in.Duration,
		TotalSnapshots: in.TotalSnapshots, Snapshots: keptSnapshots(in.Snapshots, full),
		Targets: keptTargets(in.Targets),
		Hooks:   keptHooks(in.Hooks), Resolved: keptBackup(in.Resolved),
	}
	return newDocument(cluster, v1alpha1.BackupSessionKind, &s.ObjectMeta, spec, status)
}

func snapshotDocument(cluster string, s *v1alpha1.Snapshot) document {
	spec := v1alpha1.SnapshotSpec{
		SnapshotID: s.Spec.SnapshotID, Repository: s.Spec.Repository, Session: s.Spec.Session,
		BackupSession: s.Spec.BackupSession, Version: s.Spec.Version, AppRef: s.Spec.AppRef,
	}
	in := &s.Status
	status := v1alpha1.SnapshotStatus{
		Conditions: keptConditions(in.Conditions),
		Phase:      in.Phase, SnapshotTime: in.SnapshotTime, Size: in.Size, TotalComponents: in.TotalComponents,
		Components: map[string]v1alpha1.Component{},
	}
	for name, c := range in.Components {
		status.Components[name] = v1alpha1.Component{
			Phase: c.Phase, Driver: c.Driver, ID: c.ID,
			SizeBytes: c.SizeBytes, UploadedBytes: c.UploadedBytes, ComponentCounts: keptCounts(c.ComponentCounts),
			UnmatchedPatterns: c.UnmatchedPatterns,
			StartTime:         c.StartTime, CompletionTime: c.CompletionTime, Duration: c.Duration,
			VolumeSnapshotterStats: keptVolumeSnapshots(c.VolumeSnapshotterStats),
			Reason:                 c.Reason, Error: c.Error,
		}
	}
	return newDocument(cluster, v1alpha1.SnapshotKind, &s.ObjectMeta, spec, status)
}

// keptVolumeSnapshots keeps what is needed to make a volume again, in this cluster or in another one that reaches the
// same storage system.
func keptVolumeSnapshots(in []v1alpha1.VolumeSnapshotterStats) []v1alpha1.VolumeSnapshotterStats {
	var out []v1alpha1.VolumeSnapshotterStats
	for _, s := range in {
		out = append(out, v1alpha1.VolumeSnapshotterStats{
			PVCName: s.PVCName, VolumeSnapshotName: s.VolumeSnapshotName, VolumeSnapshotTime: s.VolumeSnapshotTime,
			VolumeSnapshotContentName: s.VolumeSnapshotContentName, SnapshotHandle: s.SnapshotHandle, Driver: s.Driver,
			DeletionPolicy: s.DeletionPolicy, ContentDeletionPolicy: s.ContentDeletionPolicy,
			RestoreSize:      s.RestoreSize,
			StorageClassName: s.StorageClassName, AccessModes: s.AccessModes, VolumeMode: s.VolumeMode,
		})
	}
	return out
}

// keptCounts keeps the counts of what is there and what is missing. A record has no room for the others.
func keptCounts(c v1alpha1.ComponentCounts) v1alpha1.ComponentCounts {
	return v1alpha1.ComponentCounts{
		Files: c.Files, Sockets: c.Sockets,
		Unreadable: c.Unreadable, AttributesUnreadable: c.AttributesUnreadable, Vanished: c.Vanished,
		Changed: c.Changed, Restless: c.Restless,
	}
}

func restoreDocument(cluster string, s *v1alpha1.RestoreSession) document {
	spec := v1alpha1.RestoreSessionSpec{
		Target: s.Spec.Target, Addon: keptAddon(s.Spec.Addon), RestoreTimeout: s.Spec.RestoreTimeout,
		Confirm: s.Spec.Confirm, OverwritePolicy: s.Spec.OverwritePolicy, DeleteExtraFiles: s.Spec.DeleteExtraFiles,
		Verify: s.Spec.Verify, RetryConfig: s.Spec.RetryConfig,
		Hooks: keptRestoreHooks(s.Spec.Hooks),
	}
	if d := s.Spec.DataSource; d != nil {
		spec.DataSource = &v1alpha1.RestoreDataSource{
			Namespace: d.Namespace, Repository: d.Repository, Snapshot: d.Snapshot, PITR: d.PITR,
			AllowDamaged:     d.AllowDamaged,
			Components:       d.Components,
			Rules:            keptRules(d.Rules),
			EncryptionSecret: d.EncryptionSecret,
		}
	}
	in := &s.Status
	status := v1alpha1.RestoreSessionStatus{
		Conditions: keptConditions(in.Conditions),
		Phase:      in.Phase, Reason: in.Reason, TargetFound: in.TargetFound,
		StartTime: in.StartTime, CompletionTime: in.CompletionTime, Duration: in.Duration,
		Attempt: in.Attempt, Retried: in.Retried,
		TotalComponents: in.TotalComponents, Hooks: keptHooks(in.Hooks), Resolved: keptRestore(in.Resolved),
	}
	if len(in.Components) > 0 {
		status.Components = map[string]v1alpha1.RestoredComponent{}
	}
	for name, c := range in.Components {
		status.Components[name] = v1alpha1.RestoredComponent{
			Phase: c.Phase, ClaimUID: c.ClaimUID, ID: c.ID, SizeBytes: c.SizeBytes, Files: c.Files,
			Overwritten: c.Overwritten, Kept: c.Kept, Deleted: c.Deleted, Verified: c.Verified, Different: c.Different,
			OwnersNotRestored: c.OwnersNotRestored, AttributesNotRestored: c.AttributesNotRestored,
			DevicesNotRestored: c.DevicesNotRestored, LinksNotRestored: c.LinksNotRestored,
			ExtraKept: c.ExtraKept, UnmatchedPatterns: c.UnmatchedPatterns,
			StartTime: c.StartTime, CompletionTime: c.CompletionTime, Duration: c.Duration,
			Reason: c.Reason, Error: c.Error,
		}
	}
	return newDocument(cluster, v1alpha1.RestoreSessionKind, &s.ObjectMeta, spec, status)
}

// keptConditions drops Reconciling, and of each condition the observed generation.
func keptConditions(in []metav1.Condition) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range in {
		if c.Type == "Reconciling" {
			continue
		}
		out = append(out, metav1.Condition{
			Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message,
			LastTransitionTime: c.LastTransitionTime,
		})
	}
	slices.SortFunc(out, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	return out
}

func keptSnapshots(in []v1alpha1.SnapshotStatusInfo, full []v1alpha1.Snapshot) []v1alpha1.SnapshotStatusInfo {
	var out []v1alpha1.SnapshotStatusInfo
	for _, s := range in {
		if slices.ContainsFunc(full, func(f v1alpha1.Snapshot) bool { return f.Name == s.Name }) {
			continue
		}
		out = append(out, v1alpha1.SnapshotStatusInfo{
			Name: s.Name, Phase: s.Phase, AppRef: s.AppRef,
			Repository: s.Repository,
		})
	}
	return out
}

func keptTargets(in []v1alpha1.BackupTargetStatus) []v1alpha1.BackupTargetStatus {
	var out []v1alpha1.BackupTargetStatus
	for _, t := range in {
		out = append(out, v1alpha1.BackupTargetStatus{
			Name: t.Name, AppRef: t.AppRef, Configuration: t.Configuration,
			Phase: t.Phase, Reason: t.Reason, Message: t.Message, Size: t.Size, Uploaded: t.Uploaded,
			Hooks: keptHooks(t.Hooks),
		})
	}
	return out
}
