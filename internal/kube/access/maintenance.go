package access

import "github.com/cairn-backup/cairn/api/v1alpha1"

// ForMaintenance returns the storage with the credential that is allowed to remove data: maintenanceSecretName if set,
// else its only credential.
func ForMaintenance(storage *v1alpha1.BackupStorage) *v1alpha1.BackupStorage {
	name := storage.Spec.MaintenanceSecretName
	if name == "" {
		return storage
	}
	out := storage.DeepCopy()
	switch s := &out.Spec.Storage; {
	case s.S3 != nil:
		s.S3.SecretName = name
	case s.GCS != nil:
		s.GCS.SecretName = name
	case s.Azure != nil:
		s.Azure.SecretName = name
	case s.SFTP != nil:
		s.SFTP.SecretName = name
	case s.WebDAV != nil:
		s.WebDAV.SecretName = name
	}
	return out
}
