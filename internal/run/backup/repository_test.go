package backup

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
)

func TestFreezeRepository(t *testing.T) {
	condition := func(r *v1alpha1.Repository, kind string, status metav1.ConditionStatus, reason, message string) {
		r.Status.Phase = v1alpha1.PhaseNotReady
		r.Status.Conditions = append(r.Status.Conditions,
			metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
	}
	for name, tt := range map[string]struct {
		change  func(*v1alpha1.BackupConfiguration, *v1alpha1.Repository)
		driver  v1alpha1.Driver
		reason  string
		message string
		wait    time.Duration
	}{
		"it can be used": {},
		"it has another encryption Secret than policy says": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) {
				r.Spec.EncryptionSecret.Name = "old"
			},
		},
		"the task has another driver": {
			driver: v1alpha1.DriverVolumeSnapshotter, reason: v1alpha1.ReasonRepositoryConflict,
			message: `the Repository "web" has driver Kopia, but the task of this session has driver VolumeSnapshotter`,
		},
		"it is in another directory": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) { r.Spec.Path = "/other" },
			reason: v1alpha1.ReasonRepositoryConflict,
			message: `has directory "other" of BackupStorage shop/bucket, and the policy has directory "web" of ` +
				"BackupStorage shop/bucket: these fields never change",
		},
		"its backend is gone": {
			change: func(c *v1alpha1.BackupConfiguration, _ *v1alpha1.Repository) { c.Spec.Backends = nil },
			reason: v1alpha1.ReasonBackendNotFound, message: `BackupConfiguration web has no backend "s3"`,
		},
		"it has no target": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) {
				r.Spec.AppRef = v1alpha1.TypedObjectReference{}
			},
			reason: v1alpha1.ReasonRepositoryNotReady, wait: run.WaitForRepository,
			message: "Repository web has no target yet: BackupConfiguration web takes it",
		},
		"it has another target": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) { r.Spec.AppRef.Name = "db" },
			reason: v1alpha1.ReasonRepositoryConflict,
			message: "Repository shop/web has target Deployment.apps shop/db, and the policy has target " +
				"Deployment.apps shop/web",
		},
		"it has a target of another kind": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) {
				r.Spec.AppRef.Kind = v1alpha1.KindStatefulSet
			},
			reason:  v1alpha1.ReasonRepositoryConflict,
			message: "Repository shop/web has target StatefulSet.apps shop/web, and the policy has target Deployment",
		},
		// The configuration reports these two as Invalid, and its runs go on.
		"its target lacks the API group": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) { r.Spec.AppRef.APIGroup = "" },
		},
		"its target names another namespace": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) { r.Spec.AppRef.Namespace = "old" },
		},
		"it is being initialised": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) { r.Status.Phase = "" },
			reason: v1alpha1.ReasonRepositoryNotReady, wait: run.WaitForRepository,
			message: "Repository web is not ready: it is being initialised",
		},
		"it is being deleted": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) {
				r.DeletionTimestamp = new(metav1.Now())
			},
			reason: v1alpha1.ReasonRepositoryNotReady, message: "Repository web is being deleted",
		},
		"its password is wrong": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) {
				condition(r, "Ready", metav1.ConditionFalse, v1alpha1.ReasonWrongPassword, "wrong")
			},
			reason: v1alpha1.ReasonWrongPassword, wait: run.WaitForRepository,
			message: "Repository web is not ready: wrong",
		},
		"it needs a person": {
			change: func(_ *v1alpha1.BackupConfiguration, r *v1alpha1.Repository) {
				condition(r, "Ready", metav1.ConditionFalse, "Any", "any")
				condition(r, "Stalled", metav1.ConditionTrue, "Any", "any")
			},
			reason: v1alpha1.ReasonRepositoryNotReady, message: "Repository web is not ready: any",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := &v1alpha1.BackupConfiguration{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
				Spec: v1alpha1.BackupConfigurationSpec{
					Target: &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"},
					Backends: []v1alpha1.BackendReference{
						{Name: "s3", StorageRef: &v1alpha1.ObjectReference{Name: "bucket"}},
					},
				},
			}
			info := &v1alpha1.RepositoryInfo{
				Name: "web", Backend: "s3", Directory: "/web",
				EncryptionSecret: &v1alpha1.ObjectReference{Name: "password"},
			}
			repo := policy.RepositoryOf(c, info, v1alpha1.DriverKopia)
			repo.UID, repo.Status.Phase = "uid", v1alpha1.PhaseReady
			if tt.change != nil {
				tt.change(c, repo)
			}
			if tt.driver == "" {
				tt.driver = v1alpha1.DriverKopia
			}
			frozen, refusal, wait := FreezeRepository(c, repo, info, tt.driver, "web-run")
			g.Expect(wait).To(Equal(tt.wait))
			if tt.reason != "" {
				g.Expect(refusal.Reason).To(Equal(tt.reason))
				g.Expect(refusal.Message).To(ContainSubstring(tt.message))
				g.Expect(frozen).To(BeNil())
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(frozen).To(Equal(&v1alpha1.ResolvedRepository{
				Name: "web", UID: "uid", Snapshot: "web-run", Directory: "web",
				StorageRef:       v1alpha1.ObjectReference{Namespace: "shop", Name: "bucket"},
				EncryptionSecret: v1alpha1.ObjectReference{Namespace: "shop", Name: repo.Spec.EncryptionSecret.Name},
			}))
		})
	}
}
