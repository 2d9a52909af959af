package access

import "github.com/cairn-backup/cairn/api/v1alpha1"

// ForMaintenance returns the storage with the credential with which a keeper of a namespace removes data:
// maintenanceSecretName if it is set and KeepsMaintenance does not hold, else the credential of backups and restores.
func ForMaintenance(storage *v1alpha1.BackupStorage, namespace string) *v1alpha1.BackupStorage {
	name := storage.Spec.MaintenanceSecretName
	if name == "" || KeepsMaintenance(storage, namespace) {
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

// KeepsMaintenance reports whether a storage keeps its maintenanceSecretName from the keepers of a namespace. Whoever
// reads the Secrets of that namespace could delete the backups of all others with it.
func KeepsMaintenance(storage *v1alpha1.BackupStorage, namespace string) bool {
	usage := storage.Spec.UsagePolicy
	return storage.Spec.MaintenanceSecretName != "" && namespace != storage.Namespace &&
		(usage == nil || !usage.ShareMaintenanceSecret)
}
