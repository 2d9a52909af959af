package moverjob_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

func nfsStorage() *v1alpha1.BackupStorage {
	s := localStorage()
	s.Spec.Storage.Local = &v1alpha1.LocalStorage{
		NFS: &v1alpha1.NFSVolumeSource{Server: "nfs.example.com", Path: "/export"},
	}
	return s
}

// TestEveryJobOfAStorageObeysThePrivilegeRule tries the Jobs that mount a storage beside those of backups. A share that
// an NFS server exports trusts the user ID of its client, as a host path does.
func TestEveryJobOfAStorageObeysThePrivilegeRule(t *testing.T) {
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-db", Namespace: "shop", UID: "uid-repository"},
		Spec:       v1alpha1.RepositorySpec{Path: "shop/db", Driver: v1alpha1.DriverKopia},
	}
	jobs := map[string]func(s *v1alpha1.BackupStorage, privileged bool) error{
		"init of the storage": func(s *v1alpha1.BackupStorage, privileged bool) error {
			_, err := moverjob.InitStorageJob(moverjob.InitStorageJobInput{
				Storage: s, Digest: "sha256:1", Privileged: privileged,
			})
			return err
		},
		"init of a repository": func(s *v1alpha1.BackupStorage, privileged bool) error {
			_, err := moverjob.InitRepositoryJob(moverjob.InitRepositoryJobInput{
				Storage: s, Repository: repository, Digest: "sha256:1", Privileged: privileged,
			})
			return err
		},
		"keeper": func(s *v1alpha1.BackupStorage, privileged bool) error {
			_, err := moverjob.KeepJob(moverjob.KeepJobInput{
				Name: "keeper-s3", Namespace: "shop", Label: "keeper-s3", Storage: s, Privileged: privileged,
				Work: []moverjob.KeepWork{
					{Repository: repository, EncryptionSecret: "enc", Maintain: task.MaintainQuick},
				},
			})
			return err
		},
		"backup": func(s *v1alpha1.BackupStorage, privileged bool) error {
			in := backupInput()
			in.Storage, in.Privileged = s, privileged
			_, err := moverjob.BackupJob(in)
			return err
		},
		"restore": func(s *v1alpha1.BackupStorage, privileged bool) error {
			in := restoreInput()
			in.Storage, in.Privileged = s, privileged
			_, err := moverjob.RestoreJob(in)
			return err
		},
	}
	storages := map[string]func() *v1alpha1.BackupStorage{
		"an NFS server": nfsStorage, "a host path": hostStorage,
		"a priority class of the system": func() *v1alpha1.BackupStorage {
			s := s3Storage()
			s.Spec.RuntimeSettings = &v1alpha1.RuntimeSettings{
				Pod: &v1alpha1.PodRuntimeSettings{PriorityClassName: "system-cluster-critical"},
			}
			return s
		},
	}
	for what, storage := range storages {
		for job, build := range jobs {
			if strings.Contains(what, "class") && (job == "backup" || job == "restore") {
				continue // these have the settings of their jobTemplate
			}
			t.Run(job+", "+what, func(t *testing.T) {
				g := NewWithT(t)
				g.Expect(build(storage(), false)).To(MatchError(moverjob.ErrPrivilegeRequired))
				g.Expect(build(storage(), true)).To(Succeed())
			})
		}
	}
}
