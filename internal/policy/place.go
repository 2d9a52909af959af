package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Place identifies where a BackupStorage of a namespace keeps its data. Connection settings (region, credential,
// certificates, mount path) do not count. A claim belongs to its namespace; a bucket or an export is the same from
// every namespace.
func Place(namespace string, s v1alpha1.Storage) string {
	place := []string{string(s.Provider)}
	switch {
	case s.S3 != nil:
		place = append(place, strings.ToLower(strings.TrimRight(s.S3.Endpoint, "/")), s.S3.Bucket,
			NormalizeDirectory(s.S3.Prefix))
	case s.GCS != nil:
		place = append(place, s.GCS.Bucket, NormalizeDirectory(s.GCS.Prefix))
	case s.Azure != nil:
		place = append(place, s.Azure.StorageAccount, s.Azure.Container, NormalizeDirectory(s.Azure.Prefix))
		if suffix := s.Azure.EndpointSuffix; suffix != "" && suffix != v1alpha1.AzureEndpointSuffix {
			place = append(place, suffix)
		}
	case s.SFTP != nil:
		place = append(place, strings.ToLower(s.SFTP.Host), strconv.Itoa(int(s.SFTP.Port)), directoryOf(s.SFTP),
			NormalizeDirectory(s.SFTP.Prefix))
	case s.WebDAV != nil:
		place = append(place, strings.TrimRight(s.WebDAV.URL, "/"), NormalizeDirectory(s.WebDAV.Prefix))
	case s.Local != nil:
		place = append(place, volumePlace(namespace, s.Local)...)
		place = append(place, NormalizeDirectory(s.Local.SubPath))
	}
	return strings.Join(place, "|")
}

// DescribePlace says in words where a BackupStorage keeps its data.
func DescribePlace(s v1alpha1.Storage) string {
	var words []string
	add := func(what, value string) {
		if value != "" {
			words = append(words, what+" "+value)
		}
	}
	switch {
	case s.S3 != nil:
		add("endpoint", s.S3.Endpoint)
		add("bucket", s.S3.Bucket)
		add("prefix", s.S3.Prefix)
	case s.GCS != nil:
		add("bucket", s.GCS.Bucket)
		add("prefix", s.GCS.Prefix)
	case s.Azure != nil:
		add("account", s.Azure.StorageAccount)
		add("container", s.Azure.Container)
		add("prefix", s.Azure.Prefix)
	case s.SFTP != nil:
		add("host", s.SFTP.Host)
		add("path", s.SFTP.Path)
		add("prefix", s.SFTP.Prefix)
	case s.WebDAV != nil:
		add("URL", s.WebDAV.URL)
		add("prefix", s.WebDAV.Prefix)
	case s.Local != nil:
		add("volume", strings.Join(strings.Fields(strings.Join(volumePlace("", s.Local), " ")), " "))
		add("subPath", s.Local.SubPath)
	}
	return strings.Join(words, ", ")
}

// RepositoryPlace returns the digest of where a Repository keeps its data: the place of its storage and its directory.
func RepositoryPlace(namespace string, s v1alpha1.Storage, directory string) string {
	return Digest([]string{Place(namespace, s), NormalizeDirectory(directory)})
}

// KeepsIn reports whether a storage, as it is now, is the place where the Repository was initialised.
func KeepsIn(r *v1alpha1.Repository, storage *v1alpha1.BackupStorage) bool {
	return r.Status.InitializedSpec == RepositoryPlace(storage.Namespace, storage.Spec.Storage, r.Spec.Path)
}

// Lost reports whether a Repository was initialised, and a run, a keeper or an init Job has found since that its
// directory belongs to another Repository or cluster. takenTime says so, whatever the condition Ready says meanwhile,
// until an init Job has proved a directory. Only the conditions say what an init Job has just found, and what it found
// where the BackupStorage or the path has moved the Repository into somebody else's directory: that sets no takenTime.
func Lost(r *v1alpha1.Repository) bool {
	return r.Status.TakenTime != nil || r.Status.InitializedSpec != "" &&
		conditions.IsFalse(r, v1alpha1.ConditionRepositoryInitialized) &&
		conditions.GetReason(r, meta.ReadyCondition) == v1alpha1.ReasonDirectoryTaken
}

// directoryOf returns a directory of an SSH server. A path without a leading slash lies below the user's home.
func directoryOf(s *v1alpha1.SFTPStorage) string {
	if strings.HasPrefix(s.Path, "/") {
		return "/" + NormalizeDirectory(s.Path)
	}
	return s.Username + ":" + NormalizeDirectory(s.Path)
}

func volumePlace(namespace string, l *v1alpha1.LocalStorage) []string {
	switch {
	case l.NFS != nil:
		return []string{"nfs", strings.ToLower(l.NFS.Server), NormalizeDirectory(l.NFS.Path)}
	case l.HostPath != nil:
		return []string{"hostPath", NormalizeDirectory(l.HostPath.Path)}
	case l.PersistentVolumeClaim != nil:
		return []string{"claim", namespace, l.PersistentVolumeClaim.ClaimName}
	}
	return nil
}

// StorageSecret describes the Secret of a storage and the keys that are read from it. An empty Name means no Secret.
type StorageSecret struct {
	// Name of the Secret, in the storage's namespace.
	Name string
	// Field of the BackupStorage that names the Secret.
	Field string
	// Required keys.
	Required []string
	// OneOf lists keys of which at least one is required.
	OneOf []string
	// Optional keys.
	Optional []string
}

// SecretOf returns the description of a storage's Secret.
func SecretOf(s v1alpha1.Storage) StorageSecret {
	switch {
	case s.S3 != nil:
		return StorageSecret{
			Name: s.S3.SecretName, Field: "spec.storage.s3.secretName",
			Required: []string{v1alpha1.S3AccessKeyID, v1alpha1.S3SecretAccessKey},
			Optional: []string{v1alpha1.S3SessionToken, v1alpha1.StorageCACertData},
		}
	case s.GCS != nil:
		return StorageSecret{
			Name: s.GCS.SecretName, Field: "spec.storage.gcs.secretName", Required: []string{
				v1alpha1.GCSServiceAccountKey,
			},
		}
	case s.Azure != nil:
		return StorageSecret{
			Name: s.Azure.SecretName, Field: "spec.storage.azure.secretName", Required: []string{
				v1alpha1.AzureAccountKey,
			},
		}
	case s.SFTP != nil:
		return StorageSecret{
			Name: s.SFTP.SecretName, Field: "spec.storage.sftp.secretName",
			Required: []string{v1alpha1.SFTPKnownHosts}, OneOf: []string{v1alpha1.SFTPIdentity, v1alpha1.SFTPPassword},
		}
	case s.WebDAV != nil:
		return StorageSecret{
			Name: s.WebDAV.SecretName, Field: "spec.storage.webdav.secretName",
			Required: []string{v1alpha1.WebDAVUsername, v1alpha1.WebDAVPassword},
			Optional: []string{v1alpha1.StorageCACertData},
		}
	}
	return StorageSecret{}
}

// Keys returns all keys that are read from the Secret.
func (s StorageSecret) Keys() []string {
	return slices.Concat(s.Required, s.OneOf, s.Optional)
}

// Missing lists in words the keys that a Secret lacks; "" if none. size returns the length of a key's value.
func (s StorageSecret) Missing(size func(key string) int) string {
	missing := slices.DeleteFunc(slices.Clone(s.Required), func(key string) bool { return size(key) > 0 })
	if len(s.OneOf) > 0 && !slices.ContainsFunc(s.OneOf, func(key string) bool { return size(key) > 0 }) {
		missing = append(missing, strings.Join(s.OneOf, " or "))
	}
	return strings.Join(missing, " and ")
}

// PasswordKeys returns the keys of a Secret that can hold the password of a Repository, the one that counts first.
func PasswordKeys() []string {
	return []string{v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword}
}

// NoPassword says of a Secret that PasswordOf finds no password in it.
const NoPassword = "has neither " + v1alpha1.EncryptionPassword + " nor " + v1alpha1.EncryptionResticPassword

// PasswordOf returns the password of a Repository that a Secret holds, and its key; "" if it holds none. It drops a
// trailing newline, which editors add. value returns the value of a key. It is not asked for
// keys after the one that counts.
func PasswordOf(value func(key string) string) (key, password string) {
	for _, key := range PasswordKeys() {
		if password := strings.TrimRight(value(key), "\r\n"); password != "" {
			return key, password
		}
	}
	return "", ""
}
