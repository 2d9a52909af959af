package metrics

import (
	"context"
	"slices"
	"strconv"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Phases of each kind.
var (
	readyPhases  = []string{"Ready", "NotReady"}
	policyPhases = []string{"Ready", "NotReady", "Invalid"}
	backupPhases = phases(v1alpha1.BackupSessionPending, v1alpha1.BackupSessionRunning, v1alpha1.BackupSessionSucceeded,
		v1alpha1.BackupSessionFailed,
		v1alpha1.BackupSessionSkipped)
	snapshotPhases = phases(v1alpha1.SnapshotPending, v1alpha1.SnapshotRunning, v1alpha1.SnapshotSucceeded,
		v1alpha1.SnapshotFailed)
	restorePhases = phases(v1alpha1.RestoreSessionPending, v1alpha1.RestoreSessionRunning,
		v1alpha1.RestoreSessionSucceeded, v1alpha1.RestoreSessionFailed,
		v1alpha1.RestoreSessionSkipped, v1alpha1.RestoreSessionInvalid, v1alpha1.RestoreSessionUnknown)
)

func phases[P ~string](all ...P) []string {
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = string(p)
	}
	return out
}

func (s *scrape) theirConfigurations(ctx context.Context) {
	var list v1alpha1.BackupConfigurationList
	if !s.list(ctx, &list) {
		return
	}
	for o := range made(list.Items) {
		of := ptr.Deref(o.Spec.Target, v1alpha1.TypedObjectReference{})
		t := kubestashObject{
			s, ofConfigurations, slices.Concat([]string{o.Namespace, v1alpha1.BackupConfigurationKind, o.Name},
				referenced(of, o.Namespace)),
		}
		t.general(o, o.Status.Conditions, policyPhases, o.Status.Phase)
		sessions := policy.ConfigurationSessions(o)
		for j := range o.Spec.Sessions {
			addon, line := "", ""
			if a := o.Spec.Sessions[j].Addon; a != nil {
				addon = a.Name
			}
			if scheduler := sessions[j].Scheduler; scheduler != nil {
				line = scheduler.Schedule
			}
			t.give("sessions", 1, sessions[j].Name, line, addon)
		}
	}
}

func (s *scrape) theirBackups(ctx context.Context) {
	var list v1alpha1.BackupSessionList
	if !s.list(ctx, &list) {
		return
	}
	for o := range made(list.Items) {
		t := kubestashObject{s, ofBackupSessions, []string{
			o.Namespace, v1alpha1.BackupSessionKind, o.Name, o.Spec.Invoker.Kind,
			o.Spec.Invoker.Name,
		}}
		t.general(o, o.Status.Conditions, backupPhases, string(o.Status.Phase), o.Spec.Session, string(o.Status.Phase))
		t.took(o.Status.StartTime, o.Status.CompletionTime)
		for _, info := range o.Status.Snapshots {
			of := ptr.Deref(info.AppRef, v1alpha1.TypedObjectReference{})
			t.give("snapshots", 1, slices.Concat([]string{info.Name, string(info.Phase), info.Repository},
				referenced(of, o.Namespace))...)
		}
	}
}

func (s *scrape) theirRestores(ctx context.Context) {
	var list v1alpha1.RestoreSessionList
	if !s.list(ctx, &list) {
		return
	}
	for o := range made(list.Items) {
		of := ptr.Deref(o.Spec.Target, v1alpha1.TypedObjectReference{})
		from, addon := ptr.Deref(o.Spec.DataSource, v1alpha1.RestoreDataSource{}), ""
		if o.Spec.Addon != nil {
			addon = o.Spec.Addon.Name
		}
		t := kubestashObject{
			s, ofRestoreSessions, slices.Concat([]string{o.Namespace, v1alpha1.RestoreSessionKind, o.Name},
				referenced(of, o.Namespace)),
		}
		t.general(o, o.Status.Conditions, restorePhases, string(o.Status.Phase), from.Namespace, from.Repository,
			from.Snapshot, addon, string(o.Status.Phase))
		t.took(o.Status.StartTime, o.Status.CompletionTime)
		t.give("component_count_total", float64(o.Status.TotalComponents))
	}
}

func (s *scrape) theirStorages(ctx context.Context) {
	var repositories v1alpha1.RepositoryList
	var storages v1alpha1.BackupStorageList
	if !s.list(ctx, &repositories) || !s.list(ctx, &storages) {
		return
	}
	in := map[client.ObjectKey][]*v1alpha1.Repository{}
	for o := range made(repositories.Items) {
		storage := o.Spec.StorageRef.In(o.Namespace)
		if o.Status.StoredBytes != nil {
			in[storage] = append(in[storage], o)
		}
		s.theirRepository(o)
	}
	for o := range made(storages.Items) {
		t := kubestashObject{s, ofStorages, []string{o.Namespace, v1alpha1.BackupStorageKind, o.Name}}
		t.general(o, o.Status.Conditions, readyPhases, o.Status.Phase,
			string(o.Spec.Storage.Provider), strconv.FormatBool(o.Spec.Default), string(o.Spec.DeletionPolicy),
			o.Status.Phase)
		var total int64
		for _, r := range in[client.ObjectKeyFromObject(o)] {
			total += *r.Status.StoredBytes
			t.give("repository_size_bytes", float64(*r.Status.StoredBytes), r.Name, r.Namespace, r.Spec.Path)
		}
		if len(in[client.ObjectKeyFromObject(o)]) > 0 {
			t.give("size_bytes", float64(total))
		}
	}
}

func (s *scrape) theirRepository(o *v1alpha1.Repository) {
	t := kubestashObject{s, ofRepositories, slices.Concat([]string{o.Namespace, v1alpha1.RepositoryKind, o.Name},
		referenced(o.Spec.AppRef, o.Namespace))}
	t.general(o, o.Status.Conditions, readyPhases, o.Status.Phase, o.Spec.Path, o.Status.Phase,
		known(o.Status.Integrity))
	if at := o.Status.LastBackupTime; at != nil && !v1alpha1.Ahead(at.Time, s.now) {
		t.give("last_successful_backup", float64(at.Unix()))
	}
	if n := o.Status.StoredBytes; n != nil {
		t.give("size_bytes", float64(*n))
	}
	if n := o.Status.SnapshotCount; n != nil {
		t.give("snapshot_count_total", float64(*n))
	}
}

func (s *scrape) theirSnapshots(ctx context.Context) {
	var list v1alpha1.SnapshotList
	if !s.list(ctx, &list) {
		return
	}
	for o := range made(list.Items) {
		t := kubestashObject{s, ofSnapshots, slices.Concat([]string{o.Namespace, v1alpha1.SnapshotKind, o.Name},
			referenced(o.Spec.AppRef, o.Namespace))}
		t.general(o, o.Status.Conditions, snapshotPhases, string(o.Status.Phase),
			string(o.Spec.Type), o.Spec.Repository, o.Spec.Session, o.Spec.BackupSession, o.Spec.Version,
			string(o.Status.Phase), known(o.Status.Integrity))
		if o.Status.Phase.Terminal() {
			var size int64
			for _, c := range o.Status.Components {
				size += c.SizeBytes
			}
			t.give("size_bytes", float64(size))
		}
		if at := o.MadeBy(s.now); at != nil {
			t.give("time_seconds", float64(at.Unix()))
		}
		t.give("component_count_total", float64(o.Status.TotalComponents))
	}
}
