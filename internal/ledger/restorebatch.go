package ledger

import "github.com/cairn-backup/cairn/api/v1alpha1"

// RestoreBatchRecord returns the record of a RestoreBatch that ended. Each of its RestoreSessions has its own record.
func RestoreBatchRecord(cluster string, batch *v1alpha1.RestoreBatch) ([]Record, error) {
	object := Object{
		Kind: v1alpha1.RestoreBatchKind, Namespace: batch.Namespace, Name: batch.Name, UID: batch.UID,
		Phase: string(batch.Status.Phase), Reason: batch.ShownReason(),
	}
	if r := batch.Status.Resolved; r != nil {
		object.Revision = r.Policy.Revision
	}
	docs := []document{restoreBatchDocument(cluster, batch)}
	return newRecord(RestoreBatchPath(batch), object, docs)
}

// RestoreBatchPath returns the path of the only or the first file of the record of a RestoreBatch that ended.
func RestoreBatchPath(batch *v1alpha1.RestoreBatch) string {
	ended := endOf(batch.Status.CompletionTime, batch.CreationTimestamp)
	return recordPath(folderOf(v1alpha1.RestoreBatchKind, batch.Name, ended), &batch.ObjectMeta)
}

// restoreBatchDocument says what was requested and what became of each target.
func restoreBatchDocument(cluster string, b *v1alpha1.RestoreBatch) document {
	d := b.Spec.DataSource
	spec := v1alpha1.RestoreBatchSpec{
		DataSource: v1alpha1.RestoreBatchDataSource{
			Namespace: d.Namespace, BackupBatch: d.BackupBatch, Session: d.Session, BackupSession: d.BackupSession,
			PITR: d.PITR, AllowDamaged: d.AllowDamaged,
			Mixed: d.Mixed, EncryptionSecret: d.EncryptionSecret,
		},
		ExecutionOrder: b.Spec.ExecutionOrder, MaxParallel: b.Spec.MaxParallel, RestoreTimeout: b.Spec.RestoreTimeout,
		RetryConfig: b.Spec.RetryConfig, Hooks: keptRestoreHooks(b.Spec.Hooks),
	}
	for _, t := range b.Spec.Targets {
		spec.Targets = append(spec.Targets, v1alpha1.RestoreBatchTarget{
			Name: t.Name, Target: t.Target, Repository: t.Repository, Components: t.Components,
			Rules:            keptRules(t.Rules),
			EncryptionSecret: t.EncryptionSecret,
			Addon:            keptAddon(t.Addon), Confirm: t.Confirm, OverwritePolicy: t.OverwritePolicy,
			DeleteExtraFiles: t.DeleteExtraFiles,
			Verify:           t.Verify, RetryConfig: t.RetryConfig, RestoreTimeout: t.RestoreTimeout,
			Hooks: keptRestoreHooks(t.Hooks),
		})
	}
	in := &b.Status
	status := v1alpha1.RestoreBatchStatus{
		Conditions: keptConditions(in.Conditions),
		Phase:      in.Phase, Reason: in.Reason, StartTime: in.StartTime, CompletionTime: in.CompletionTime,
		Duration:     in.Duration,
		RestorePoint: in.RestorePoint, Hooks: keptHooks(in.Hooks),
	}
	for _, t := range in.Targets {
		status.Targets = append(status.Targets, v1alpha1.RestoreTargetStatus{
			Name: t.Name, RestoreSession: t.RestoreSession, Phase: t.Phase, Reason: t.Reason, Message: t.Message,
			Snapshot: t.Snapshot, RestorePoint: t.RestorePoint,
		})
	}
	if r := in.Resolved; r != nil {
		status.Resolved = &v1alpha1.ResolvedRestoreBatch{
			Policy: keptPolicy(r.Policy), Timeout: r.Timeout,
			SpecDigest: r.SpecDigest, Namespace: r.Namespace,
		}
		for _, t := range r.Targets {
			status.Resolved.Targets = append(status.Resolved.Targets, v1alpha1.ResolvedRestoreTarget{
				Name: t.Name, RestoreSession: t.RestoreSession, Target: t.Target, Repository: t.Repository,
				Snapshot:     t.Snapshot,
				RestorePoint: t.RestorePoint,
			})
		}
	}
	return newDocument(cluster, v1alpha1.RestoreBatchKind, &b.ObjectMeta, spec, status)
}
