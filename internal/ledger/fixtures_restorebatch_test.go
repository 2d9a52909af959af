package ledger

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// restoreBatch is a RestoreBatch that ended, with everything that a record must not contain.
func restoreBatch() *v1alpha1.RestoreBatch {
	secret := &apiextensionsv1.JSON{Raw: []byte(`{"user":"s3cr3t"}`)}
	hooks := &v1alpha1.RestoreHooks{
		PreRestore: []v1alpha1.HookInfo{
			{Name: "stop", HookTemplate: &v1alpha1.ObjectReference{Name: "t"}, Params: secret},
		},
	}
	user := int64(33)
	claim := &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}
	return &v1alpha1.RestoreBatch{
		ObjectMeta: metav1.ObjectMeta{
			Name: "back", Namespace: "shop", UID: "bb9ab5f3-8c1e-4f07-9f43-0d1f0a4dd001", CreationTimestamp: *at(3600),
			Finalizers: []string{v1alpha1.FinalizerRecord},
		},
		Spec: v1alpha1.RestoreBatchSpec{
			DataSource: v1alpha1.RestoreBatchDataSource{
				Namespace: "shop", BackupBatch: "shop",
				BackupSession: v1alpha1.LatestBackupSession,
			},
			Targets: []v1alpha1.RestoreBatchTarget{
				{Name: "uploads", Hooks: hooks, Addon: &v1alpha1.AddonInfo{
					Name:  "pvc-addon",
					Tasks: []v1alpha1.TaskReference{{Name: "logical-backup-restore", Params: secret}},
					JobTemplate: &v1alpha1.PodTemplateSpec{
						Spec: v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: &user}},
					},
				}},
				{Name: "db", Confirm: "4711", OverwritePolicy: v1alpha1.OverwriteIfNewer},
			},
			ExecutionOrder: v1alpha1.ExecutionSequential, RestoreTimeout: &metav1.Duration{Duration: time.Hour},
			Hooks: hooks,
		},
		Status: v1alpha1.RestoreBatchStatus{
			ObservedGeneration: 1, Phase: v1alpha1.RestoreSessionFailed, Reason: v1alpha1.ReasonTargetsFailed,
			RestorePoint: "shop-hourly-1795154820",
			Conditions: ready(metav1.ConditionFalse, v1alpha1.ReasonTargetsFailed,
				"not restored: target db: VolumeNotEmpty: it holds files"),
			StartTime: at(3601), CompletionTime: at(3700), Duration: "1m39s",
			Targets: []v1alpha1.RestoreTargetStatus{
				{
					Name: "uploads", RestoreSession: "back-uploads", Phase: v1alpha1.RestoreSessionSucceeded,
					Reason:   v1alpha1.ReasonSucceeded,
					Snapshot: "shop-uploads-shop-hourly-1795154820", RestorePoint: "shop-hourly-1795154820",
				},
				{
					Name: "db", RestoreSession: "back-db", Phase: v1alpha1.RestoreSessionFailed,
					Reason:   "VolumeNotEmpty",
					Message:  "it holds files",
					Snapshot: "shop-db-shop-hourly-1795154820-r1", RestorePoint: "shop-hourly-1795154820",
				},
			},
			Hooks: &v1alpha1.HookStatuses{
				PreHooks: []v1alpha1.HookStatus{
					{Name: "stop", Phase: v1alpha1.HookSucceeded, Attempts: 1, Stderr: "s3cr3t"},
				},
			},
			Resolved: &v1alpha1.ResolvedRestoreBatch{
				Policy: v1alpha1.ResolvedPolicy{Revision: "main@sha1:1111"}, SpecDigest: "sha256:1", Namespace: "shop",
				Targets: []v1alpha1.ResolvedRestoreTarget{
					{
						Name: "uploads", RestoreSession: "back-uploads", Target: claim, Repository: "shop-uploads",
						Snapshot: "shop-uploads-shop-hourly-1795154820", RestorePoint: "shop-hourly-1795154820",
					},
				},
				Hooks: &v1alpha1.ResolvedHooks{
					Pre: []v1alpha1.ResolvedHook{
						{Name: "stop", Values: []v1alpha1.HookValue{{Name: "user", Value: "s3cr3t"}}},
					},
				},
			},
		},
	}
}
