package ledger

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

var slot = time.Date(2026, 7, 31, 23, 0, 0, 0, time.UTC)

// golden compares content with a file of testdata.
func golden(t testing.TB, name, content string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	NewWithT(t).Expect(content).To(Equal(string(want)))
}

func at(seconds int) *metav1.Time {
	return &metav1.Time{Time: slot.Add(time.Duration(seconds) * time.Second)}
}

func ready(status metav1.ConditionStatus, reason, message string) []metav1.Condition {
	return []metav1.Condition{
		{
			Type: "Ready", Status: status, Reason: reason, Message: message, LastTransitionTime: *at(41),
			ObservedGeneration: 1,
		},
	}
}

// run is a batch of three targets, of which the last failed, with every field set that an object can have.
func run() (*v1alpha1.BackupSession, []v1alpha1.Snapshot) {
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{
			Name: "shop-hourly-1795154820", Namespace: "shop", UID: "0d9ab5f3-8c1e-4f07-9f43-0d1f0a4dd001",
			ResourceVersion: "4711", Generation: 1, Finalizers: []string{v1alpha1.FinalizerRecord},
			CreationTimestamp: *at(0),
			Labels: map[string]string{
				v1alpha1.LabelInvokerKind: "BackupBatch", v1alpha1.LabelInvokerName: "shop",
				v1alpha1.LabelSession: "hourly", "team": "secret-project",
			},
			Annotations:     map[string]string{v1alpha1.AnnotationCronJob: "trigger-x", "note": "s3cr3t"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "BackupBatch", Name: "shop"}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: "BackupBatch", Name: "shop"},
			Session: "hourly", ScheduledTime: at(0),
		},
		Status: v1alpha1.BackupSessionStatus{
			ObservedGeneration: 1, Phase: v1alpha1.BackupSessionFailed, Reason: v1alpha1.ReasonTargetsFailed,
			Conditions: ready(metav1.ConditionFalse, v1alpha1.ReasonTargetsFailed, "1 of 3 targets failed: db"),
			StartTime:  at(1), CompletionTime: at(41), BackupDeadline: at(1800), Duration: "40s",
			Records: []v1alpha1.RecordStatus{{Ledger: "backup/ledger", Commit: "9c1f0aa"}},
			Resolved: &v1alpha1.ResolvedBackup{
				Policy: v1alpha1.ResolvedPolicy{
					Source: "PolicySync/shop/policy", Revision: "main@sha1:4be2b5f3a1c04f2b9e7d1a0c5f6e7d8c9b0a1f2e",
					Generation: 3, Digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
				},
				Schedule: "0 * * * *", Timeout: &metav1.Duration{Duration: 30 * time.Minute},
			},
		},
	}
	var snapshots []v1alpha1.Snapshot
	for i, name := range []string{"web", "uploads", "db"} {
		target, info, snapshot := runTarget(i, name)
		s.Status.Targets = append(s.Status.Targets, target)
		s.Status.Snapshots = append(s.Status.Snapshots, info)
		s.Status.Resolved.Targets = append(s.Status.Resolved.Targets, resolvedTarget(name, target, info))
		snapshots = append(snapshots, snapshot)
	}
	return s, snapshots
}

func runTarget(i int, name string) (v1alpha1.BackupTargetStatus, v1alpha1.SnapshotStatusInfo, v1alpha1.Snapshot) {
	ref := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name}
	t := v1alpha1.BackupTargetStatus{
		Name: name, AppRef: ref, Configuration: "shop-" + name, Phase: v1alpha1.BackupSessionSucceeded,
		Size: "12.222 MiB", Uploaded: "1.500 MiB", StartTime: at(1 + i), CompletionTime: at(39 + i), Duration: "38s",
	}
	c := v1alpha1.Component{
		Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia,
		ID:   fmt.Sprintf("%032x", 0x6b7f9c0ffee0+i*7919),
		Path: "var/www", Size: "12.222 MiB", SizeBytes: 12815695 + int64(i), Uploaded: "1.500 MiB",
		UploadedBytes: 1572864,
		ComponentCounts: v1alpha1.ComponentCounts{
			Files: 1200 + int64(i), Directories: 80, Symlinks: 3, HardLinks: 2,
			PreviousSizeBytes: 12815600,
		},
		StartTime: at(4 + i), CompletionTime: at(39 + i), Duration: "35.120s",
		Progress: &v1alpha1.ComponentProgress{FilesDone: 5},
	}
	phase := v1alpha1.SnapshotSucceeded
	if name == "db" {
		t.Phase, t.Reason, t.Message = v1alpha1.BackupSessionFailed, v1alpha1.ReasonUnreadable,
			"3 entries could not be read"
		phase, c.Phase, c.Reason, c.Error, c.Unreadable = v1alpha1.SnapshotFailed, v1alpha1.SnapshotFailed,
			v1alpha1.ReasonUnreadable, "3 entries could not be read: run the mover as their owner", 3
	}
	info := v1alpha1.SnapshotStatusInfo{
		Name: "shop-" + name + "-shop-hourly-1795154820", Phase: phase, AppRef: &ref, Repository: "shop-" + name,
	}
	snapshot := v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Name: info.Name, Namespace: "shop", UID: types.UID(fmt.Sprintf("7b1c2d3e-0000-4000-8000-00000000000%d", i)),
			Finalizers:  []string{"x"},
			Annotations: map[string]string{v1alpha1.AnnotationMovers: "pvc=job-x"},
			Labels: map[string]string{v1alpha1.LabelRepository: info.Repository, v1alpha1.LabelConfiguration: "shop-" +
				name},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: fmt.Sprintf("01J4A6Z8Q3M5N7P9R1S3T5V7X%d", i), Repository: info.Repository, Session: "hourly",
			BackupSession: "shop-hourly-1795154820", Version: v1alpha1.SnapshotLayoutVersion, AppRef: ref,
		},
		Status: v1alpha1.SnapshotStatus{
			ObservedGeneration: 1, Phase: phase, SnapshotTime: at(40), Size: "12.222 MiB", TotalComponents: 1,
			Components: map[string]v1alpha1.Component{"pvc": c},
		},
	}
	return t, info, snapshot
}

func resolvedTarget(name string, t v1alpha1.BackupTargetStatus,
	info v1alpha1.SnapshotStatusInfo,
) v1alpha1.ResolvedTarget {
	user := int64(33)
	return v1alpha1.ResolvedTarget{
		Name: name, AppRef: t.AppRef, Configuration: t.Configuration,
		Task: v1alpha1.ResolvedTask{
			Addon: "pvc-addon", Task: "logical-backup", Function: "pvc-backup", Driver: v1alpha1.DriverKopia,
			Image: "registry.example/cairn-mover:v0.1.0", Args: []string{"--password=s3cr3t"},
			Job: &v1alpha1.JobPodSpec{NodeSelector: map[string]string{"a": "s3cr3t"}},
			Steps: []v1alpha1.ResolvedStep{
				{Function: "app-export", TargetAccess: v1alpha1.TargetAccessReadWrite, Container: corev1.Container{
					Name: "app-export-0", Image: "registry.example/app:v2", Args: []string{"--password=s3cr3t"},
					Command: []string{"s3cr3t"},
					Env:     []corev1.EnvVar{{Name: "PASSWORD", Value: "s3cr3t"}}, WorkingDir: "s3cr3t",
				}},
			},
			Container:   &corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "s3cr3t"}}},
			Volumes:     []corev1.Volume{{Name: "s3cr3t"}},
			PodMetadata: &v1alpha1.TemplateMetadata{Annotations: map[string]string{"a": "s3cr3t"}},
		},
		Hosts: []v1alpha1.ResolvedHost{{
			Name: "target", SecurityContext: v1alpha1.MoverSecurityContext{RunAsUser: &user},
			Volumes: []v1alpha1.ResolvedVolume{{Component: "pvc", ClaimName: name, Path: "var/www"}},
		}},
		Repositories: []v1alpha1.ResolvedRepository{{
			Name: info.Repository, StorageRef: v1alpha1.ObjectReference{Name: "s3", Namespace: "backup"},
			Directory: "shop/" + name, EncryptionSecret: v1alpha1.ObjectReference{Name: "enc", Namespace: "shop"},
			Snapshot: info.Name,
		}},
	}
}

func restore() *v1alpha1.RestoreSession {
	found := true
	_, snapshots := run()
	return &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Name: "drill", Namespace: "shop", UID: "aa9ab5f3-8c1e-4f07-9f43-0d1f0a4dd001", CreationTimestamp: *at(3600),
			Finalizers: []string{v1alpha1.FinalizerRecord},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target: &v1alpha1.TypedObjectReference{
				Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads-copy",
			},
			DataSource:     &v1alpha1.RestoreDataSource{Snapshot: snapshots[1].Name},
			RestoreTimeout: &metav1.Duration{Duration: time.Hour},
		},
		Status: v1alpha1.RestoreSessionStatus{
			Phase: v1alpha1.RestoreSessionSucceeded, Reason: v1alpha1.ReasonSucceeded, TargetFound: &found,
			Conditions: ready(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "restored"),
			StartTime:  at(3601), CompletionTime: at(3700), Duration: "1m39s", TotalComponents: 1,
			Components: map[string]v1alpha1.RestoredComponent{"pvc": {
				Phase: v1alpha1.RestoreSessionSucceeded, ID: snapshots[1].Status.Components["pvc"].ID, SizeBytes: 12,
				Files:             3,
				OwnersNotRestored: 12,
			}},
			Resolved: &v1alpha1.ResolvedRestore{
				Policy:   v1alpha1.ResolvedPolicy{Revision: "main@sha1:1111"},
				Snapshot: snapshots[1].Name,
				Hosts: []v1alpha1.ResolvedRestoreHost{{Name: "target", Volumes: []v1alpha1.ResolvedRestoreVolume{
					{Component: "pvc", ID: "k1", ClaimName: "uploads-copy", Path: "var/www"},
				}}},
				Repository: v1alpha1.ResolvedRepository{
					Name: "shop-uploads", StorageRef: v1alpha1.ObjectReference{Name: "s3", Namespace: "backup"},
					Directory:        "shop/uploads",
					EncryptionSecret: v1alpha1.ObjectReference{Name: "enc", Namespace: "shop"},
				},
				Task: v1alpha1.ResolvedTask{
					Addon: "pvc-addon", Task: "logical-backup-restore", Function: "pvc-restore",
					Driver: v1alpha1.DriverKopia,
					Image:  "registry.example/cairn-mover:v0.1.0", Args: []string{"--password=s3cr3t"},
				},
			},
		},
	}
}

// one returns a record that has one file.
func one(files []Record, err error) (Record, error) {
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("the record has %d files", len(files))
	}
	if err != nil {
		return Record{}, err
	}
	return files[0], nil
}
