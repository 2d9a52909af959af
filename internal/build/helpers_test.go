package build_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// files maps paths to contents. A content that begins with "-> " makes a symbolic link.
type files map[string]string

func (f files) write(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "checkout")
	g := NewWithT(t)
	g.Expect(os.MkdirAll(root, 0o755)).To(Succeed())
	for name, content := range f {
		name = filepath.Join(root, name)
		g.Expect(os.MkdirAll(filepath.Dir(name), 0o755)).To(Succeed())
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			g.Expect(os.Symlink(target, name)).To(Succeed())
			continue
		}
		g.Expect(os.WriteFile(name, []byte(content), 0o644)).To(Succeed())
	}
	return root
}

var confined = build.Options{Namespace: "shop", Confined: true}

func findings(t testing.TB, root, path string, opts build.Options) []check.Finding {
	t.Helper()
	_, err := build.Build(t.Context(), root, path, opts)
	var found *build.Error
	NewWithT(t).Expect(errors.As(err, &found)).To(BeTrue(), "want an *Error, got %v", err)
	return found.Findings
}

func storage(name string) string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata:
  name: ` + name + `
spec:
  storage:
    provider: local
    local:
      persistentVolumeClaim: {claimName: backups}
`
}

func configuration(name string) string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata:
  name: ` + name + `
spec:
  target: {kind: PersistentVolumeClaim, name: ` + name + `}
  backends:
  - name: main
    storageRef: {name: local}
  sessions:
  - name: nightly
    scheduler: {schedule: "0 2 * * *"}
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories:
    - name: ` + name + `
      backend: main
      directory: /` + name + `
      encryptionSecret: {name: enc}
`
}
