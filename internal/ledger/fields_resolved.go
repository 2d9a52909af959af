package ledger

import "github.com/cairn-backup/cairn/api/v1alpha1"

// keptPolicy leaves out the signer: the revision names the commit, which holds its signature, and a record has at most
// 1 KiB when packed.
func keptPolicy(p v1alpha1.ResolvedPolicy) v1alpha1.ResolvedPolicy {
	return v1alpha1.ResolvedPolicy{Source: p.Source, Revision: p.Revision, Generation: p.Generation, Digest: p.Digest}
}

func keptBackup(in *v1alpha1.ResolvedBackup) *v1alpha1.ResolvedBackup {
	if in == nil {
		return nil
	}
	out := &v1alpha1.ResolvedBackup{
		Policy: keptPolicy(in.Policy), Schedule: in.Schedule, RestorePoint: in.RestorePoint,
		RestorePointUID: in.RestorePointUID, RestorePointTime: in.RestorePointTime,
		Timeout: in.Timeout, SuccessPolicy: keptSuccessPolicy(in.SuccessPolicy),
	}
	out.ExecutionOrder, out.MaxParallel = in.ExecutionOrder, in.MaxParallel
	for _, t := range in.Targets {
		kept := v1alpha1.ResolvedTarget{
			Name: t.Name, AppRef: t.AppRef, Configuration: t.Configuration, Task: keptTask(t.Task), Timeout: t.Timeout,
		}
		if t.Error != nil {
			kept.Error = &v1alpha1.ResolvedError{Reason: t.Error.Reason, Message: t.Error.Message}
		}
		for _, r := range t.Repositories {
			kept.Repositories = append(kept.Repositories, keptRepository(r))
		}
		out.Targets = append(out.Targets, kept)
	}
	return out
}

func keptSuccessPolicy(p *v1alpha1.SuccessPolicy) *v1alpha1.SuccessPolicy {
	if p == nil {
		return nil
	}
	return &v1alpha1.SuccessPolicy{
		Empty: p.Empty, Unreadable: p.Unreadable, Changed: p.Changed,
		MaxShrinkPercent: p.MaxShrinkPercent,
	}
}

func keptRestore(in *v1alpha1.ResolvedRestore) *v1alpha1.ResolvedRestore {
	if in == nil {
		return nil
	}
	out := &v1alpha1.ResolvedRestore{
		Policy: keptPolicy(in.Policy), Timeout: in.Timeout, SpecDigest: in.SpecDigest,
		Namespace: in.Namespace, Snapshot: in.Snapshot, SnapshotUID: in.SnapshotUID,
		Repository: keptRepository(in.Repository),
		TargetUID:  in.TargetUID, Task: keptTask(in.Task),
	}
	for _, h := range in.Hosts {
		kept := v1alpha1.ResolvedRestoreHost{Name: h.Name}
		for _, v := range h.Volumes {
			kept.Volumes = append(kept.Volumes, v1alpha1.ResolvedRestoreVolume{
				Component: v.Component, Source: v.Source, ID: v.ID, ClaimName: v.ClaimName, ClaimUID: v.ClaimUID,
				Template:  v.Template,
				Provision: v.Provision.DeepCopy(),
			})
		}
		out.Hosts = append(out.Hosts, kept)
	}
	return out
}

func keptTask(t v1alpha1.ResolvedTask) v1alpha1.ResolvedTask {
	return v1alpha1.ResolvedTask{Addon: t.Addon, Task: t.Task, Function: t.Function, Driver: t.Driver, Image: t.Image}
}

func keptRepository(r v1alpha1.ResolvedRepository) v1alpha1.ResolvedRepository {
	return v1alpha1.ResolvedRepository{
		Name: r.Name, UID: r.UID, StorageRef: r.StorageRef, Directory: r.Directory,
		EncryptionSecret: r.EncryptionSecret, Snapshot: r.Snapshot,
	}
}

// keptAddon keeps the names. The values of parameters are the user's.
func keptAddon(in *v1alpha1.AddonInfo) *v1alpha1.AddonInfo {
	if in == nil {
		return nil
	}
	out := &v1alpha1.AddonInfo{Name: in.Name}
	for _, t := range in.Tasks {
		out.Tasks = append(out.Tasks, v1alpha1.TaskReference{Name: t.Name, TargetVolumes: keptVolumes(t.TargetVolumes)})
	}
	return out
}

// keptVolumes keeps the claims that a restore makes, by name. A record without them would not be valid.
func keptVolumes(in *v1alpha1.TargetVolumes) *v1alpha1.TargetVolumes {
	if in == nil {
		return nil
	}
	out := &v1alpha1.TargetVolumes{Replicas: in.Replicas}
	for _, t := range in.VolumeClaimTemplates {
		out.VolumeClaimTemplates = append(out.VolumeClaimTemplates, v1alpha1.RestoreClaimTemplate{
			Metadata: v1alpha1.ClaimMetadata{Name: t.Metadata.Name}, Spec: t.Spec,
		})
	}
	return out
}

func keptRules(in []v1alpha1.RestoreRule) []v1alpha1.RestoreRule {
	var out []v1alpha1.RestoreRule
	for _, r := range in {
		out = append(out, v1alpha1.RestoreRule{TargetHosts: r.TargetHosts, SourceHost: r.SourceHost})
	}
	return out
}
