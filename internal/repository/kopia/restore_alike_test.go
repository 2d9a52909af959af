package kopia_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// caseless mounts a file system that ignores case, as SMB does. It lists names in lower case. again mounts it once
// more: Linux remembers files by names and numbers that this file system gives to others, so only then is known what it
// has.
func caseless(t *testing.T) (volume string, again func()) {
	t.Helper()
	needs(t, "mkntfs", "lowntfs-3g", "umount")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	NewWithT(t).Expect(os.WriteFile(image, nil, 0o600)).To(Succeed())
	NewWithT(t).Expect(os.Truncate(image, 64<<20)).To(Succeed())
	enginetest.Program(t, "mkntfs", "-q", "-F", image)
	unmount := mountNTFS(t, image, dir)
	t.Cleanup(func() { unmount() })
	volume = filepath.Join(dir, "volume")
	NewWithT(t).Expect(os.Mkdir(volume, 0o700)).To(Succeed())
	return volume, func() {
		unmount()
		unmount = mountNTFS(t, image, dir)
	}
}

// mountNTFS mounts an image, and returns a function that ends that and returns when all is written to the image.
func mountNTFS(t *testing.T, image, dir string) (unmount func()) {
	t.Helper()
	var before unix.Stat_t
	NewWithT(t).Expect(unix.Stat(dir, &before)).To(Succeed())
	program := exec.Command("lowntfs-3g", image, dir, "-o", "ignore_case,permissions,no_detach")
	NewWithT(t).Expect(program.Start()).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	NewWithT(t).Eventually(func() bool {
		var now unix.Stat_t
		return len(ended) > 0 || unix.Stat(dir, &now) == nil && now.Dev != before.Dev
	}, "30s", "10ms").Should(BeTrue(), "lowntfs-3g mounts the image, or ends")
	if len(ended) > 0 {
		t.Skipf("needs FUSE: %v", <-ended)
	}
	return func() {
		_ = exec.Command("umount", "-l", dir).Run() // a child of another test can have it open for a moment
		select {
		case err := <-ended:
			t.Logf("lowntfs-3g has ended: %v", err)
		case <-time.After(time.Minute):
			_ = program.Process.Kill()
			t.Error("lowntfs-3g did not end")
		}
	}
}

// writeNames writes files that hold their own names.
func writeNames(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		NewWithT(t).Expect(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755)).To(Succeed())
		NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)).To(Succeed())
	}
}

// pathsIn returns the paths of all files, and of what a restore left there.
func pathsIn(t *testing.T, dir string) (out []string) {
	t.Helper()
	NewWithT(t).Expect(filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && (!d.IsDir() || repository.IsUnfinishedName(d.Name())) && d.Name() != repository.RestoreMark {
			out = append(out, p[len(dir)+1:])
		}
		return err
	})).To(Succeed())
	return out
}

// deleting replaces what exists, and deletes what the snapshot does not have.
var deleting = repository.RestoreOptions{OnConflict: repository.ConflictReplace, DeleteExtra: true}

// TestNamesThatTheFileSystemTakesForOne restores names that differ only in case where case does not count. Nothing of
// their directory is written or deleted, and the rest is restored.
func TestNamesThatTheFileSystemTakesForOne(t *testing.T) {
	t.Parallel()
	first := repository.RestoreOptions{OnConflict: repository.ConflictFail}
	resumed := repository.RestoreOptions{OnConflict: repository.ConflictReplace}
	excluding := func(pattern string) repository.RestoreOptions {
		return repository.RestoreOptions{OnConflict: repository.ConflictReplace, Exclude: []string{pattern}}
	}
	for name, tc := range map[string]struct {
		has, before []string
		opt         []repository.RestoreOptions
		want        []string
		told        string // of each restore, or nothing
	}{
		"two files": {
			has:  []string{"d/README", "d/readme", "d/x", "e"},
			opt:  []repository.RestoreOptions{first, resumed, resumed},
			want: []string{"e"}, told: `in directory "d", the file system takes names for one, and nothing was ` +
				`restored there: "README" and "readme"`,
		},
		"two directories": {
			has: []string{"d/Docs/a", "d/docs/b", "e"}, opt: []repository.RestoreOptions{first, resumed},
			want: []string{"e"}, told: `"Docs" and "docs"`,
		},
		"where something was before": {
			has: []string{"d/Docs/a", "d/docs/b", "d/Zoo/c", "d/zoo"}, before: []string{"d/docs/mine", "d/x"},
			opt: []repository.RestoreOptions{deleting}, want: []string{"d/docs/mine", "d/x"},
			told: `"Docs" and "docs", "Zoo" and "zoo"`,
		},
		"where nothing is overwritten": {
			has: []string{"README", "readme"}, before: []string{"README"},
			opt:  []repository.RestoreOptions{{OnConflict: repository.ConflictSkip}},
			want: []string{"readme"}, told: `in directory ".", `,
		},
		"other letters": {has: []string{"É", "é"}, opt: []repository.RestoreOptions{first}, told: `"É" and "é"`},
		"one of them": {
			has: []string{"B", "b"}, opt: []repository.RestoreOptions{excluding("b")}, want: []string{"b"},
		},
		"another form": {
			has: []string{"\u00e9", "e\u0301"}, opt: []repository.RestoreOptions{first},
			want: []string{"\u00e9", "e\u0301"},
		},
		"names of the past": {
			has: []string{"Docs/a", "X"}, before: []string{"docs/a", "docs/old", "x"},
			opt: []repository.RestoreOptions{deleting, deleting}, want: []string{"docs/a", "x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, src := NewWithT(t), t.TempDir()
			out, again := caseless(t)
			writeNames(t, src, tc.has...)
			writeNames(t, out, tc.before...)
			var told []string
			r := initialized(t)
			r.Log = func(_, component, msg string) {
				if component == "restore" {
					told = append(told, msg)
				}
			}
			e := enginetest.Open(t, kopia.Driver{}, r)
			s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			for i, opt := range tc.opt {
				_, err = e.Restore(t.Context(), s.ID, out, opt)
				if tc.told == "" {
					g.Expect(err).NotTo(HaveOccurred())
					continue
				}
				g.Expect(err).To(MatchError(repository.ErrSameName))
				g.Expect(told).To(HaveLen(i + 1))
				g.Expect(told[i]).To(ContainSubstring(tc.told))
			}
			again()
			found := pathsIn(t, out)
			g.Expect(found).To(ConsistOf(tc.want))
			for _, name := range found {
				content, err := os.ReadFile(filepath.Join(out, name))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(strings.EqualFold(string(content), name)).To(BeTrue(), "%s holds %s", name, content)
			}
		})
	}
}

// TestNamesThatAreAlike restores names that some file system takes for one where it does not, and removes what a killed
// restore has left of such a look.
func TestNamesThatAreAlike(t *testing.T) {
	t.Parallel()
	g, src, out := NewWithT(t), t.TempDir(), t.TempDir()
	long := strings.Repeat("x", 254)
	has := []string{
		"README", "Readme", "readme", "Docs/a", "docs/a", "docs/A", "\u00e9", "e\u0301", "\u00c9", "dot", "dot.", "k",
		"\u212a", "latin-\xe9", "latin-\xe8", long + "A", long + "a", "s/extra",
	}
	writeNames(t, src, has...)
	left := filepath.Join(out, repository.NewUnfinishedName())
	writeNames(t, out, "s/EXTRA", "Extra", filepath.Base(left)+"/theirs")
	g.Expect(os.Truncate(filepath.Join(left, "theirs"), 0)).To(Succeed())
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	res, err := e.Restore(t.Context(), s.ID, out, deleting)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Deleted).To(BeEquivalentTo(2), "s/EXTRA and Extra")
	g.Expect(pathsIn(t, out)).To(ConsistOf(has))
	enginetest.Same(t, src, out)
}

// TestADirectoryThatTakesNoNames keeps what is in a directory that the restore cannot write to.
func TestADirectoryThatTakesNoNames(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root can write everywhere")
	}
	g, src := NewWithT(t), t.TempDir()
	writeNames(t, src, "d/A", "d/a")
	e := enginetest.Open(t, kopia.Driver{}, initialized(t))
	s, err := e.Backup(t.Context(), repository.Source{Name: "d", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Chmod(filepath.Join(src, "d"), 0o555)).To(Succeed())
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(src, "d"), 0o755) })
	res, err := e.Restore(t.Context(), s.ID, src, repository.RestoreOptions{OnConflict: repository.ConflictSkip})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Skipped).To(BeEquivalentTo(2))
}

// BenchmarkNamesOfADirectory looks for names that are alike in a directory of many. A restore does so once for each.
func BenchmarkNamesOfADirectory(b *testing.B) {
	for kind, format := range map[string]string{
		"lower case": "file-%d.txt", "mixed": "File-%d.TXT", "other": "Ärger-%d",
	} {
		var names []string
		for i := range 1_000_000 {
			names = append(names, fmt.Sprintf(format, i))
		}
		alike := kopia.Alike(names)
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if alike() != 0 {
					b.Fatal("none is alike")
				}
			}
		})
	}
}
