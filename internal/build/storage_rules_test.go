package build_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/build"
)

// TestStorageRules: each refusal says in a sentence what to use instead. The schema alone refuses, so the API server
// gives the same answer.
func TestStorageRules(t *testing.T) {
	of := func(block string) string {
		return "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: s}\nspec:\n  storage:\n" +
			block
	}
	for name, c := range map[string]struct{ object, says string }{
		"an S3 bucket without a Secret": {of("    provider: s3\n    s3: {bucket: backups}\n"), ""},
		"maxConnections":                {of("    provider: s3\n    s3: {bucket: backups, maxConnections: 8}\n"), ""},
		"a claim": {
			of("    provider: local\n    local: {persistentVolumeClaim: {claimName: c}, mountPath: /backups, " +
				"subPath: a/b, maxConnections: 2}\n"), "",
		},
		"an NFS export": {of("    provider: local\n    local: {nfs: {server: nfs.example.com, path: /export}}\n"), ""},
		"a host path":   {of("    provider: local\n    local: {hostPath: {path: /srv/backups}}\n"), ""},
		"runtimeSettings": {
			of("    provider: local\n    local: {persistentVolumeClaim: {claimName: c}}\n  runtimeSettings:\n" +
				"    pod: {nodeSelector: {disk: ssd}, securityContext: {runAsUser: 1000}}\n    container: " +
				"{resources: {limits: {memory: 1Gi}}}\n"), "",
		},

		"gcs": {of("    provider: gcs\n    gcs: {bucket: backups, prefix: /a}\n"), ""},
		"azure": {
			of("    provider: azure\n    azure: {storageAccount: acct, container: backups, secretName: k}\n"), "",
		},
		"sftp": {
			of("    provider: sftp\n    sftp: {host: a, username: u, path: /srv, secretName: k}\n"),
			"",
		},
		"webdav": {
			of("    provider: webdav\n    webdav: {url: \"https://dav.example.com/a/b\", tlsFingerprint: \"" +
				strings.Repeat("AB:", 31) + "AB\"}\n"), "",
		},
		"webdav with a password": {
			of("    provider: webdav\n    webdav: {url: \"https://u:p@dav.example.com\"}\n"),
			"no credentials and no query",
		},
		"sftp without its block": {of("    provider: sftp\n"), "provider sftp needs spec.storage.sftp"},
		"the block of another": {
			of("    provider: sftp\n    sftp: {host: a, username: u, secretName: k}\n    webdav: " +
				"{url: \"https://a/b\"}\n"), "spec.storage.webdav needs provider webdav",
		},
		"two volumes": {
			of("    provider: local\n    local: {persistentVolumeClaim: {claimName: c}, nfs: {server: a, path: /b}}\n"),
			"exactly one of persistentVolumeClaim, nfs and hostPath",
		},
		"no volume": {
			of("    provider: local\n    local: {subPath: a}\n"),
			"use any other sort of volume through a PersistentVolumeClaim",
		},
		"a mount path of ours": {
			of("    provider: local\n    local: {persistentVolumeClaim: {claimName: c}, mountPath: " +
				"/cairn/credentials}\n"),
			"which a mover needs itself",
		},
		"a mount path that climbs": {
			of("    provider: local\n    local: {persistentVolumeClaim: {claimName: c}, mountPath: /a/../cairn}\n"),
			"without . and ..",
		},
		"the root as mount path": {
			of("    provider: local\n    local: {persistentVolumeClaim: {claimName: c}, mountPath: /}\n"),
			"an absolute path",
		},
		"a host path that climbs": {
			of("    provider: local\n    local: {hostPath: {path: /a/../etc}}\n"), "must not contain ..",
		},
		"an endpoint with a path": {
			of("    provider: s3\n    s3: {bucket: backups, endpoint: https://a/b}\n"),
			"the endpoint must be a URL with scheme",
		},
		"a provider nobody knows": {of("    provider: floppy\n"), "the provider must be one of s3, "},
		"provider swift": {
			of("    provider: swift\n    swift: {container: a}\n"),
			"set provider s3 with the endpoint of the service",
		},
		"provider b2": {
			of("    provider: b2\n    b2: {bucket: a}\n"), "set provider s3 with the endpoint of the service",
		},
		"provider rest": {of("    provider: rest\n    rest: {url: a}\n"), "set provider s3"},

		"a backend inside a Repository": {
			"apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: r}\nspec:\n  backend: {s3: " +
				"{endpoint: a, bucket: b, prefix: /c}, storageSecretName: key}\n",
			"create a BackupStorage with this backend and its Secret, name it in spec.storageRef",
		},
		"a Repository of nothing": {
			"apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: r}\nspec: {path: a}\n",
			"spec.storageRef is required",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			root := files{"a.yaml": c.object}.write(t)
			if c.says == "" {
				g.Expect(problems(t, root)).To(BeEmpty())
				return
			}
			g.Expect(problems(t, root)).To(ContainElement(ContainSubstring(c.says)))
		})
	}
}

// problems are the messages about one directory.
func problems(t testing.TB, root string) []string {
	t.Helper()
	_, err := build.Build(t.Context(), root, "", confined)
	if err == nil {
		return nil
	}
	var out []string
	for _, f := range findings(t, root, "", confined) {
		out = append(out, f.Message)
	}
	return out
}
