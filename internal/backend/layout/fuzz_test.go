package layout_test

import (
	"bytes"
	"path"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// FuzzFiles reads what lies in a backend, which anybody with its key can write. A file that is accepted can be written
// again, and says the same then.
func FuzzFiles(f *testing.F) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for _, m := range []interface{ Marshal() ([]byte, error) }{
		layout.StorageMetadata{UID: "u", ClusterUID: "c", Created: at},
		layout.RepositoryMetadata{Driver: "Kopia", ClusterUID: "c", RepositoryUID: "r", Created: at},
		layout.ComponentResult{Snapshot: "s", Component: "data", Phase: "Succeeded", Start: at, End: at},
		layout.Removal{Snapshot: "s", SnapshotUID: "u", IDs: []string{"k1"}, Seen: at},
		layout.KeeperLease{},
	} {
		b, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("apiVersion: storage.cairn.dev/v1\nkind: Removal\nformatVersion: 1\nsnapshotUID: 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, layout.ParseStorageMetadata)
		again(t, b, layout.ParseRepositoryMetadata)
		again(t, b, layout.ParseComponentResult)
		again(t, b, layout.ParseRemoval)
		again(t, b, layout.ParseKeeperLease)
	})
}

// again reads a file, writes it and reads it again. Its second form stays the same.
func again[M interface{ Marshal() ([]byte, error) }](t *testing.T, b []byte, parse func([]byte) (M, error)) {
	t.Helper()
	m, err := parse(b)
	if err != nil {
		if len(err.Error()) > len(b)*8+1000 {
			t.Errorf("%d bytes make an error of %d", len(b), len(err.Error()))
		}
		return
	}
	g := NewWithT(t)
	second, err := m.Marshal()
	g.Expect(err).NotTo(HaveOccurred())
	m, err = parse(second)
	g.Expect(err).NotTo(HaveOccurred(), "%q became %q", b, second)
	third, err := m.Marshal()
	g.Expect(err).NotTo(HaveOccurred())
	if !bytes.Equal(second, third) {
		t.Errorf("%q became %q", second, third)
	}
}

// FuzzPaths takes names of files in a backend and directories of policies apart. Whatever is accepted stays below its
// directory, and two directories have no file in common.
func FuzzPaths(f *testing.F) {
	f.Add("/shop/web", "shop/web/snapshots/s/data.yaml")
	f.Add("shop//./web/", "shop/web/snapshots/../../data.yaml")
	f.Add("/..", "../x")
	f.Fuzz(func(t *testing.T, directory, file string) {
		dir, err := layout.NormalizeDirectory(directory)
		if err != nil {
			return
		}
		g := NewWithT(t)
		g.Expect(layout.NormalizeDirectory(dir)).To(Equal(dir))
		below := layout.RepositoryPath(dir)
		if path.Clean(below) != below || strings.HasPrefix(below, "..") || strings.HasPrefix(below, "/") {
			t.Errorf("repository.yaml of %q is %q", directory, below)
		}
		if snapshot, component, ok := layout.ParseSnapshotComponentPath(dir, file); ok {
			g.Expect(layout.SnapshotComponentPath(dir, snapshot, component)).To(Equal(file))
			g.Expect(path.Clean(file)).To(Equal(file))
		}
		if number, ok := layout.ParseKeeperLeasePath(dir, file); ok {
			g.Expect(layout.KeeperLeasePath(dir, number)).To(Equal(file))
		}
	})
}
