package tracked_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/hack/tracked"
)

// TestFilesOfTheWholeRepository lists the files from a directory below the root.
func TestFilesOfTheWholeRepository(t *testing.T) {
	g := NewWithT(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	git := func(args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
	}
	for name, content := range map[string]string{
		".gitignore": "built\n", "a.go": "", "gone.go": "", "built": "", "below/with space.go": "", "below/ä.go": "",
	} {
		path := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(content), 0o644)).To(Succeed())
	}
	git("init", "-q")
	git("add", "a.go", "gone.go")
	g.Expect(os.Remove(filepath.Join(dir, "gone.go"))).To(Succeed())
	t.Chdir(filepath.Join(dir, "below"))

	root, files, err := tracked.Files()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(root).To(Equal(dir))
	g.Expect(files).To(ConsistOf(".gitignore", "a.go", "below/with space.go", "below/ä.go"))
}

func TestOutsideOfARepository(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("GIT_CEILING_DIRECTORIES", "/")
	t.Chdir(t.TempDir())
	_, _, err := tracked.Files()
	g.Expect(err).To(MatchError(ContainSubstring("find the root of the repository")))
}
