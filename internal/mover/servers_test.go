package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/task"
)

// TestStoragesOnServers goes the whole way for each provider with a server: from the keys in files to the restored
// volume.
func TestStoragesOnServers(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, p *pod) v1alpha1.Storage{
		"s3": func(t *testing.T, p *pod) v1alpha1.Storage {
			s := enginetest.StartS3(t)
			p.write("cairn/credentials/"+v1alpha1.S3AccessKeyID, s.AccessKey)
			p.write("cairn/credentials/"+v1alpha1.S3SecretAccessKey, s.SecretKey)
			return v1alpha1.Storage{Provider: v1alpha1.ProviderS3, S3: &v1alpha1.S3Storage{
				Endpoint: "http://" + s.Endpoint, Bucket: s.Bucket, Region: s.Region, Prefix: "/cairn/",
				SecretName:     "key",
				MaxConnections: 4,
			}}
		},
		"gcs": func(t *testing.T, _ *pod) v1alpha1.Storage {
			s := enginetest.StartGCS(t)
			return v1alpha1.Storage{
				Provider: v1alpha1.ProviderGCS,
				GCS:      &v1alpha1.GCSStorage{Bucket: s.Bucket, Prefix: "/cairn/"},
			}
		},
		"sftp": func(t *testing.T, p *pod) v1alpha1.Storage {
			s := enginetest.StartSFTP(t)
			p.write("cairn/credentials/"+v1alpha1.SFTPKnownHosts, string(s.KnownHosts))
			p.write("cairn/credentials/"+v1alpha1.SFTPIdentity, string(s.Identity))
			return v1alpha1.Storage{Provider: v1alpha1.ProviderSFTP, SFTP: &v1alpha1.SFTPStorage{
				Host: s.Host, Port: int32(s.Port), Username: s.Username, Path: s.Path, Prefix: "cairn",
				SecretName: "key",
			}}
		},
		"webdav": func(t *testing.T, p *pod) v1alpha1.Storage {
			s, ca := enginetest.StartWebDAV(t)
			p.write("cairn/credentials/"+v1alpha1.WebDAVUsername, s.Username)
			p.write("cairn/credentials/"+v1alpha1.WebDAVPassword, s.Password)
			p.write("cairn/credentials/"+v1alpha1.StorageCACertData, string(ca))
			return v1alpha1.Storage{
				Provider: v1alpha1.ProviderWebDAV,
				WebDAV:   &v1alpha1.WebDAVStorage{URL: s.URL, Prefix: "cairn", SecretName: "key"},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, ctx := NewWithT(t), t.Context()
			p := newPod(t)
			spec := start(t, p)
			on := func(in task.Task) task.Task {
				in.Storage.Spec = spec
				return in
			}
			p.write("cairn/volumes/pvc/file", "text")
			for _, in := range []task.Task{storageTask(), storageTask(), repositoryTask(), repositoryTask()} {
				code, result := p.run(ctx, on(in))
				g.Expect(code).To(BeZero(), "%+v", result)
			}
			code, result := p.run(ctx, on(backupTask("snap-1")))
			g.Expect(code).To(BeZero(), "%+v", result)
			g.Expect(os.MkdirAll(filepath.Join(p.root, "cairn/volumes/new"), 0o755)).To(Succeed())
			code, result = p.run(ctx, on(restoreTask(result.Components[0].ID)))
			g.Expect(code).To(BeZero(), "%+v", result)
			g.Expect(os.ReadFile(filepath.Join(p.root, "cairn/volumes/new/file"))).To(BeEquivalentTo("text"))

			other := repositoryTask()
			other.Repository.UID, other.Repository.Name = "other", "other"
			_, result = p.run(ctx, on(other))
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDirectoryTaken), "the written data is found again")
		})
	}
}
