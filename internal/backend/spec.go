package backend

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
)

// FromSpec builds a storage from its spec and its credentials. key returns the value of a key of its Secret, "" if
// the key is absent. local is the directory of the volume of a local storage. rules decide to which servers it
// connects.
func FromSpec(
	spec v1alpha1.Storage, local string, rules *egress.Policy, key func(string) (string, error),
) (repository.Storage, error) {
	c := keys{value: key}
	var out repository.Storage
	switch {
	case spec.S3 != nil:
		host, plain, err := repository.ParseEndpoint(spec.S3.Endpoint)
		if err != nil {
			return out, err
		}
		out = repository.Storage{MaxConnections: int(spec.S3.MaxConnections), S3: &repository.S3{
			Endpoint: host, Plain: plain, Bucket: spec.S3.Bucket, Prefix: strings.Trim(spec.S3.Prefix, "/"),
			Region: spec.S3.Region, InsecureTLS: spec.S3.InsecureTLS, Ambient: spec.S3.SecretName == "",
			AccessKey: c.get(v1alpha1.S3AccessKeyID), SecretKey: c.get(v1alpha1.S3SecretAccessKey),
			SessionToken: c.get(v1alpha1.S3SessionToken),
			CA:           []byte(c.get(v1alpha1.StorageCACertData)),
			Egress:       rules,
		}}
	case spec.SFTP != nil:
		sftp := &repository.SFTP{
			Host: spec.SFTP.Host, Port: int(spec.SFTP.Port), Username: spec.SFTP.Username, Path: spec.SFTP.Path,
			Prefix: strings.Trim(spec.SFTP.Prefix, "/"), KnownHosts: []byte(c.get(v1alpha1.SFTPKnownHosts)),
			Password: c.get(v1alpha1.SFTPPassword), Egress: rules,
		}
		if identity := c.get(v1alpha1.SFTPIdentity); identity != "" {
			sftp.Identity = []byte(identity + "\n")
		}
		out = repository.Storage{MaxConnections: int(spec.SFTP.MaxConnections), SFTP: sftp}
	case spec.WebDAV != nil:
		out = repository.Storage{MaxConnections: int(spec.WebDAV.MaxConnections), WebDAV: &repository.WebDAV{
			URL: spec.WebDAV.URL, Prefix: strings.Trim(spec.WebDAV.Prefix, "/"),
			Fingerprint: spec.WebDAV.TLSFingerprint,
			Username:    c.get(v1alpha1.WebDAVUsername), Password: c.get(v1alpha1.WebDAVPassword),
			CA: []byte(c.get(v1alpha1.StorageCACertData)), Egress: rules,
		}}
	case spec.GCS != nil:
		out = repository.Storage{MaxConnections: int(spec.GCS.MaxConnections), GCS: &repository.GCS{
			Bucket: spec.GCS.Bucket, Prefix: strings.Trim(spec.GCS.Prefix, "/"),
			Credentials: []byte(c.get(v1alpha1.GCSServiceAccountKey)),
			Ambient:     spec.GCS.SecretName == "", Egress: rules,
		}}
	case spec.Azure != nil:
		azure, err := azureStorage(*spec.Azure, c.get(v1alpha1.AzureAccountKey))
		if err != nil {
			return out, err
		}
		azure.Egress = rules
		out = repository.Storage{MaxConnections: int(spec.Azure.MaxConnections), Azure: azure}
	case spec.Local != nil:
		out = repository.Storage{
			Local:          &repository.Local{Path: local, Prefix: spec.Local.SubPath},
			MaxConnections: int(spec.Local.MaxConnections),
		}
	default:
		return out, fmt.Errorf("unknown provider %q", spec.Provider)
	}
	return out, c.err
}

// azureStorage returns a container with the key of its Secret, or with the workload identity of the pod, which Azure's
// webhook describes in the environment.
func azureStorage(spec v1alpha1.AzureStorage, key string) (*repository.Azure, error) {
	out := &repository.Azure{
		Account: spec.StorageAccount, EndpointSuffix: spec.EndpointSuffix, Container: spec.Container,
		Prefix: strings.Trim(spec.Prefix, "/"), Key: key,
	}
	if spec.SecretName != "" {
		return out, nil
	}
	out.TenantID, out.ClientID, out.TokenFile = os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv(
		"AZURE_FEDERATED_TOKEN_FILE")
	if out.TenantID == "" || out.ClientID == "" || out.TokenFile == "" {
		return nil, &repository.Error{
			Op: "connect", Kind: repository.ErrBadCredentials,
			Err: errors.New("the storage names no Secret, and there is no workload identity of Azure"),
		}
	}
	return out, nil
}

// keys reads keys of a Secret and keeps the first error.
type keys struct {
	value func(string) (string, error)
	err   error
}

func (k *keys) get(name string) string {
	value, err := k.value(name)
	if k.err == nil {
		k.err = err
	}
	return value
}
