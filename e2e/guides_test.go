package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// shellBlock is a fenced block of shell commands in a guide.
var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// limit is a time limit of a reader. The machine of the tests can be much slower than a cluster: with the limits of the
// guides half of them failed on one that was three times as slow as usual, and all went well otherwise.
var limit = regexp.MustCompile(`--timeout=[0-9]+s`)

// TestGuides runs every shell command of each guide, one block after the other, in one directory, as a reader would.
func TestGuides(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	for name, namespace := range map[string]string{
		"stand-alone-volume.md": "photos", "application.md": "blog", "functions-and-addons.md": "notes",
		"restore.md": "albums", "retention.md": "keeping", "hooks.md": "till", "sidecar.md": "notebook",
		"databases.md": "wares", "physical-backups.md": "register", "volume-snapshots.md": "gallery",
		"verified-policy.md": "signed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			switch name {
			case "databases.md":
				loadDatabases(t, bed, testbed.DatabaseImages...)
			case "physical-backups.md":
				loadDatabases(t, bed, "postgresql", "mariadb")
			}
			removeNamespace(t, bed, namespace) // of a run that was interrupted
			removeBranch(t, bed, namespace)
			guide, err := os.ReadFile(filepath.Join(root(t), "docs", "guides", name))
			g.Expect(err).NotTo(HaveOccurred())
			blocks := shellBlock.FindAllSubmatch(guide, -1)
			g.Expect(blocks).NotTo(BeEmpty(), "a guide without commands proves nothing")
			work := t.TempDir()
			for _, block := range blocks {
				commands := limit.ReplaceAllString(string(block[1]), "--timeout="+patience.String())
				cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
				cmd.Dir = work
				cmd.Env = append(os.Environ(), "KUBECONFIG="+bed.Kubeconfig, "PATH="+programs(t))
				out, err := cmd.CombinedOutput()
				t.Logf("$ %s\n%s", commands, out)
				g.Expect(err).NotTo(HaveOccurred(), "the commands of a guide must work, given time")
			}
		})
	}
}

// removeBranch removes the branch main of a repository, if it exists.
func removeBranch(t *testing.T, bed *testbed.Testbed, repository string) {
	t.Helper()
	g := NewWithT(t)
	clone, err := bed.Clone(t.Context(), t.TempDir(), repository, "main")
	g.Expect(err).NotTo(HaveOccurred())
	if _, err := clone.Git(t.Context(), "rev-parse", "HEAD"); err != nil {
		return // nobody pushed to it
	}
	_, err = clone.Git(t.Context(), "push", "--quiet", "origin", "--delete", "main")
	g.Expect(err).NotTo(HaveOccurred())
}
