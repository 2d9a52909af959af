package kopia_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kopia/kopia/snapshot"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// FuzzDecodeName reads names of snapshots that somebody else has written: what it returns is one name of a directory.
func FuzzDecodeName(f *testing.F) {
	for _, name := range []string{"a", ".cairn~n%2e%2e", ".cairn~na%2fb", ".cairn~n%+1", ".cairn~n%00", "..", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		raw, err := kopia.DecodeName(name)
		if err == nil && (raw == "" || raw == "." || raw == ".." || strings.ContainsAny(raw, "/\x00")) {
			t.Errorf("%q is the name %q", name, raw)
		}
	})
}

// FuzzRestore restores a snapshot that whoever has the key of the repository has written: with names, a link, types and
// attributes of their choice. Nothing outside the target changes.
func FuzzRestore(f *testing.F) {
	f.Add("link", "dir", "file", "../outside", "fdsf", []byte("cairn-attributes 1\n"))
	f.Add("a", "a", "a", "../outside", "fdsf", []byte("cairn-attributes 1\n\x01a\x02\x01\x04user\x01v"))
	f.Add("..", "../outside", ".cairn~n%2e%2e", "/", "dfsf", []byte("x"))
	f.Add("a", "A", "a/victim", "../outside/victim", "sfdf", []byte(""))
	f.Add("a", "dir", "b", "..", "fdss", []byte("cairn-attributes 1\n\x01b\x01\x00\x01\x01a\x01\x00\x01"))
	e := enginetest.Open(f, kopia.Driver{}, initialized(f))
	f.Fuzz(func(t *testing.T, link, dir, file, target, types string, attributes []byte) {
		g, all := NewWithT(t), t.TempDir()
		src, out, outside := filepath.Join(all, "src"), filepath.Join(all, "out"), filepath.Join(all, "outside")
		victim := filepath.Join(outside, "victim")
		for _, d := range []string{filepath.Join(src, "d"), out, outside} {
			g.Expect(os.MkdirAll(d, 0o755)).To(Succeed())
		}
		for name, content := range map[string][]byte{
			filepath.Join(src, "a"): attributes, filepath.Join(src, "d/victim"): []byte("new"),
			filepath.Join(src, "f"): []byte("new"), victim: []byte("precious"),
		} {
			g.Expect(os.WriteFile(name, content, 0o640)).To(Succeed())
		}
		if os.Symlink(target, filepath.Join(src, "l")) != nil {
			t.Skip("the file system has no such link")
		}
		before, err := os.Stat(victim)
		g.Expect(err).NotTo(HaveOccurred())
		s, err := e.Backup(t.Context(), repository.Source{Name: "v", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		id := kopia.WithEntries(t, e, s.ID, func(entries []*snapshot.DirEntry) {
			names := map[string]string{"a": kopia.AttrName, "d": dir, "f": file, "l": link}
			for i, x := range entries {
				x.Name = names[x.Name]
				if i < len(types) && i > 0 && strings.Contains("dfs", types[i:i+1]) {
					x.Type = snapshot.EntryType(types[i : i+1])
				}
			}
		})
		_, _ = e.Restore(t.Context(), id, out, repository.RestoreOptions{
			Owners: true, SetID: true, OnConflict: repository.ConflictReplace,
		})
		g.Expect(os.ReadDir(all)).To(HaveLen(3), "nothing is beside the target")
		g.Expect(os.ReadDir(outside)).To(HaveLen(1))
		g.Expect(os.ReadFile(victim)).To(BeEquivalentTo("precious"))
		after, err := os.Stat(victim)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(after.Mode()).To(Equal(before.Mode()))
		g.Expect(after.ModTime()).To(Equal(before.ModTime()))
		g.Expect(e.Delete(t.Context(), s.ID, id)).To(Succeed())
	})
}
