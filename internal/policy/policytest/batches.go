// Package policytest builds BackupBatches for tests.
package policytest

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// BatchOf returns a valid batch: every target is in the session "hourly", every second one also in "nightly".
func BatchOf(targets ...string) *v1alpha1.BackupBatch {
	batch := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "shop", UID: "uid"}}
	batch.Spec.Backends = []v1alpha1.BackendReference{
		{Name: "main", StorageRef: &v1alpha1.ObjectReference{Name: "s3", Namespace: "backup"}},
		{Name: "away", StorageRef: &v1alpha1.ObjectReference{Name: "far", Namespace: "backup"}},
	}
	hourly, nightly := NewSession("hourly", "17 * * * *"), NewSession("nightly", "0 2 * * *")
	for i, name := range targets {
		batch.Spec.Targets = append(batch.Spec.Targets, v1alpha1.BatchTarget{
			Name: name, AppRef: v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: name},
		})
		hourly.Targets = append(hourly.Targets, SessionTarget(name, "main"))
		if i%2 == 0 {
			nightly.Targets = append(nightly.Targets, SessionTarget(name, "away"))
		}
	}
	batch.Spec.Sessions = []v1alpha1.BackupBatchSession{hourly, nightly}
	return batch
}

// NewSession returns a session of a BackupBatch without targets.
func NewSession(name, schedule string) v1alpha1.BackupBatchSession {
	return v1alpha1.BackupBatchSession{SessionConfig: v1alpha1.SessionConfig{
		Name:          name,
		Scheduler:     &v1alpha1.SchedulerSpec{Schedule: schedule},
		BackupTimeout: &metav1.Duration{Duration: 30 * time.Minute},
	}}
}

// SessionTarget returns the settings of a target in a session.
func SessionTarget(name, backend string) v1alpha1.BatchSessionTarget {
	return v1alpha1.BatchSessionTarget{
		Name: name,
		Addon: &v1alpha1.AddonInfo{Name: "workload-addon", Tasks: []v1alpha1.TaskReference{{
			Name: "logical-backup", Params: &apiextensionsv1.JSON{Raw: []byte(`{"paths": "/var", "exclude": "*.tmp"}`)},
		}}},
		Repositories: []v1alpha1.RepositoryInfo{{
			Name: name + "-" + backend, Backend: backend, Directory: "/shop/" + name,
			EncryptionSecret: &v1alpha1.ObjectReference{Name: "enc"},
		}},
	}
}

// Selecting adds a target with a selector to both sessions of a batch, with a template for the repositories.
func Selecting(batch *v1alpha1.BackupBatch, name string, selector v1alpha1.TargetSelector) *v1alpha1.BackupBatch {
	batch.Spec.Targets = append(batch.Spec.Targets, v1alpha1.BatchTarget{Name: name, Selector: &selector})
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		session.Targets = append(session.Targets, v1alpha1.BatchSessionTarget{Name: name})
		session.Repositories = []v1alpha1.RepositoryInfo{{Name: "kept", Backend: "main", Directory: "/kept/"}}
	}
	return batch
}

// Labelled selects objects with the label app.
func Labelled(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

// Candidate returns an object with the label app.
func Candidate(kind v1alpha1.TargetKind, name, app string) policy.Candidate {
	return policy.Candidate{Kind: kind, Name: name, Labels: map[string]string{"app": app}}
}

// Mounting returns c with pods that mount the claims.
func Mounting(c policy.Candidate, claims ...string) policy.Candidate {
	c.Volumes = &policy.PodVolumes{Claims: claims, None: len(claims) == 0}
	return c
}

// SnapshotAddon has a task that makes VolumeSnapshots.
var SnapshotAddon = v1alpha1.AddonInfo{Name: "own", Tasks: []v1alpha1.TaskReference{{Name: "volume-snapshot"}}}

// OfSnapshots returns a session whose task makes VolumeSnapshots.
func OfSnapshots(infos ...v1alpha1.RepositoryInfo) v1alpha1.BackupConfigurationSession {
	return v1alpha1.BackupConfigurationSession{
		SessionConfig: v1alpha1.SessionConfig{Name: "hourly"},
		Addon:         SnapshotAddon.DeepCopy(), Repositories: infos,
	}
}
