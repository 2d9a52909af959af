package policy_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// TestPlace checks that one place has one name and that different places have different names.
func TestPlace(t *testing.T) {
	s3 := func(s v1alpha1.S3Storage) v1alpha1.Storage {
		return v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &s}
	}
	local := func(l v1alpha1.LocalStorage) v1alpha1.Storage {
		return v1alpha1.Storage{Provider: v1alpha1.ProviderLocal, Local: &l}
	}
	sftp := func(s v1alpha1.SFTPStorage) v1alpha1.Storage {
		return v1alpha1.Storage{Provider: v1alpha1.ProviderSFTP, SFTP: &s}
	}
	dav := func(w v1alpha1.WebDAVStorage) v1alpha1.Storage {
		return v1alpha1.Storage{Provider: v1alpha1.ProviderWebDAV, WebDAV: &w}
	}
	azure := func(a v1alpha1.AzureStorage) v1alpha1.Storage {
		return v1alpha1.Storage{Provider: v1alpha1.ProviderAzure, Azure: &a}
	}
	claim := v1alpha1.LocalStorage{PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "c"}}
	nfs := &v1alpha1.NFSVolumeSource{Server: "nfs", Path: "/x"}
	for name, c := range map[string]struct {
		a, b     v1alpha1.Storage
		inA, inB string
		same     bool
	}{
		"two spellings of an endpoint": {
			a: s3(v1alpha1.S3Storage{Endpoint: "https://A/", Bucket: "b"}),
			b: s3(v1alpha1.S3Storage{Endpoint: "https://a", Bucket: "b", Region: "r", SecretName: "k"}), same: true,
		},
		"another prefix": {
			a: s3(v1alpha1.S3Storage{Bucket: "b", Prefix: "x"}), b: s3(v1alpha1.S3Storage{Bucket: "b", Prefix: "y"}),
		},
		"a claim belongs to its namespace": {a: local(claim), b: local(claim), inA: "x", inB: "y"},
		"an export belongs to no namespace": {
			a: local(v1alpha1.LocalStorage{NFS: nfs}), b: local(v1alpha1.LocalStorage{NFS: nfs, MountPath: "/m"}),
			inA: "x", inB: "y", same: true,
		},
		"another directory of an export": {
			a: local(v1alpha1.LocalStorage{NFS: nfs}), b: local(v1alpha1.LocalStorage{NFS: nfs, SubPath: "s"}),
		},
		"a host path": {
			a: local(v1alpha1.LocalStorage{HostPath: &v1alpha1.HostPathVolumeSource{Path: "/a/"}}),
			b: local(v1alpha1.LocalStorage{HostPath: &v1alpha1.HostPathVolumeSource{Path: "/a"}}), same: true,
		},
		"an absolute path of two users": {
			a: sftp(v1alpha1.SFTPStorage{Host: "h", Port: 22, Username: "a", Path: "/x"}),
			b: sftp(v1alpha1.SFTPStorage{Host: "H", Port: 22, Username: "b", Path: "/x/"}), same: true,
		},
		"a path below two users": {
			a: sftp(v1alpha1.SFTPStorage{Host: "h", Port: 22, Username: "a", Path: "x"}),
			b: sftp(v1alpha1.SFTPStorage{Host: "h", Port: 22, Username: "b", Path: "x"}),
		},
		"two spellings of a URL": {
			a: dav(v1alpha1.WebDAVStorage{URL: "https://h/a/"}),
			b: dav(v1alpha1.WebDAVStorage{URL: "https://h/a", SecretName: "k"}), same: true,
		},
		"another collection": {
			a: dav(v1alpha1.WebDAVStorage{URL: "https://h/a"}), b: dav(v1alpha1.WebDAVStorage{URL: "https://h/b"}),
		},
		"the same account of two clouds": {
			a: azure(v1alpha1.AzureStorage{StorageAccount: "a", Container: "c"}),
			b: azure(v1alpha1.AzureStorage{
				StorageAccount: "a", Container: "c",
				EndpointSuffix: "core.chinacloudapi.cn",
			}),
		},
		"the default cloud": {
			a:    azure(v1alpha1.AzureStorage{StorageAccount: "a", Container: "c"}),
			b:    azure(v1alpha1.AzureStorage{StorageAccount: "a", Container: "c", EndpointSuffix: "core.windows.net"}),
			same: true,
		},
		"two providers": {a: dav(v1alpha1.WebDAVStorage{URL: "h"}), b: s3(v1alpha1.S3Storage{Endpoint: "h"})},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(policy.Place(c.inA, c.a) == policy.Place(c.inB, c.b)).To(Equal(c.same))
		})
	}
}

func TestAPlaceInWords(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]v1alpha1.Storage{
		"endpoint http://s3:7070, bucket backups, prefix bakery": {S3: &v1alpha1.S3Storage{
			Endpoint: "http://s3:7070", Bucket: "backups", Prefix: "bakery",
		}},
		"bucket backups":           {GCS: &v1alpha1.GCSStorage{Bucket: "backups"}},
		"account a, container c":   {Azure: &v1alpha1.AzureStorage{StorageAccount: "a", Container: "c"}},
		"host h, path p, prefix x": {SFTP: &v1alpha1.SFTPStorage{Host: "h", Path: "p", Prefix: "x"}},
		"URL https://dav":          {WebDAV: &v1alpha1.WebDAVStorage{URL: "https://dav"}},
		"volume claim disk, subPath a": {Local: &v1alpha1.LocalStorage{
			SubPath: "a", PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "disk"},
		}},
		"volume hostPath a": {Local: &v1alpha1.LocalStorage{HostPath: &v1alpha1.HostPathVolumeSource{Path: "/a"}}},
		"":                  {},
	} {
		NewWithT(t).Expect(policy.DescribePlace(s)).To(Equal(want))
	}
}

func TestSecretsSayWhatTheyLack(t *testing.T) {
	g := NewWithT(t)
	sftp := policy.SecretOf(v1alpha1.Storage{
		Provider: v1alpha1.ProviderSFTP,
		SFTP:     &v1alpha1.SFTPStorage{SecretName: "k"},
	})
	has := func(keys ...string) func(string) int {
		return func(key string) int {
			for _, k := range keys {
				if k == key {
					return 1
				}
			}
			return 0
		}
	}
	g.Expect(sftp.Missing(has())).To(Equal("known_hosts and identity or password"))
	g.Expect(sftp.Missing(has("known_hosts"))).To(Equal("identity or password"))
	g.Expect(sftp.Missing(has("known_hosts", "password"))).To(BeEmpty())
	g.Expect(sftp.Keys()).To(Equal([]string{"known_hosts", "identity", "password"}))
}

func TestThePasswordOfASecret(t *testing.T) {
	const plain, restic = v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword
	for name, c := range map[string]struct {
		data          map[string]string
		key, password string
	}{
		"a password":                      {map[string]string{plain: "p"}, plain, "p"},
		"a password of restic":            {map[string]string{restic: "r"}, restic, "r"},
		"the one that counts first":       {map[string]string{restic: "r", plain: "p"}, plain, "p"},
		"what an editor adds":             {map[string]string{plain: "p\r\n\n"}, plain, "p"},
		"spaces, and lines within":        {map[string]string{plain: "\n p\np "}, plain, "\n p\np "},
		"an empty key does not count":     {map[string]string{plain: "", restic: "r"}, restic, "r"},
		"nor does a key of newlines":      {map[string]string{plain: "\n", restic: "r"}, restic, "r"},
		"a Secret that has only newlines": {map[string]string{plain: "\r\n", restic: "\n"}, "", ""},
		"other keys":                      {map[string]string{"PASSWORD": "p"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			key, password := policy.PasswordOf(func(key string) string { return c.data[key] })
			g.Expect(key).To(Equal(c.key))
			g.Expect(password).To(Equal(c.password))
		})
	}
}
