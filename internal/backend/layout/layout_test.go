package layout_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend/layout"
)

func TestNormalizeDirectory(t *testing.T) {
	for name, c := range map[string]struct{ in, want, fails string }{
		"a leading slash":         {in: "/shop/web", want: "shop/web"},
		"a trailing slash":        {in: "shop/web/", want: "shop/web"},
		"none":                    {in: "shop/web", want: "shop/web"},
		"double slashes":          {in: "//shop///web//", want: "shop/web"},
		"spaces and umlauts":      {in: "/größe/mein shop", want: "größe/mein shop"},
		"a name with dots":        {in: "/a..b/...", want: "a..b/..."},
		"empty":                   {in: "", fails: "empty"},
		"only slashes":            {in: "///", fails: "empty"},
		"upwards":                 {in: "/a/../b", fails: `".."`},
		"upwards at the end":      {in: "a/..", fails: `".."`},
		"here":                    {in: "./a", fails: `"."`},
		"a line break":            {in: "a\nb", fails: "control"},
		"a NUL":                   {in: "a\x00b", fails: "control"},
		"C1 controls":             {in: "a\u0085b", fails: "control"},
		"not UTF-8":               {in: "a\xffb", fails: "UTF-8"},
		"a hidden space":          {in: "a /b", fails: "space"},
		"the engine's data":       {in: "shop/kopia", fails: `"kopia"`},
		"inside snapshots":        {in: "shop/snapshots/x", fails: `"snapshots"`},
		"the storage's own file":  {in: "metadata.yaml", fails: `"metadata.yaml"`},
		"the repository's file":   {in: "shop/repository.yaml", fails: `"repository.yaml"`},
		"longer than a key":       {in: strings.Repeat("a", 513), fails: "513 bytes"},
		"as long as can be":       {in: strings.Repeat("a", 512), want: strings.Repeat("a", 512)},
		"a prefix of a taken one": {in: "shop/kopiax", want: "shop/kopiax"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := layout.NormalizeDirectory(c.in)
			if c.fails != "" {
				g.Expect(err).To(MatchError(ContainSubstring(c.fails)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(c.want))
			g.Expect(layout.NormalizeDirectory(got)).To(Equal(got), "it is its own normal form")
		})
	}
}

func TestPaths(t *testing.T) {
	g := NewWithT(t)
	g.Expect(layout.StorageMetadataPath()).To(Equal("metadata.yaml"))
	g.Expect(layout.RepositoryPath("shop/web")).To(Equal("shop/web/repository.yaml"))
	g.Expect(layout.EnginePath("shop/web")).To(Equal("shop/web/kopia/"))
	p := layout.SnapshotComponentPath("shop/web", "web-1795154820", "volume-data")
	g.Expect(p).To(Equal("shop/web/snapshots/web-1795154820/volume-data.yaml"))
	snapshot, component, ok := layout.ParseSnapshotComponentPath("shop/web", p)
	g.Expect(ok).To(BeTrue())
	g.Expect([]string{snapshot, component}).To(Equal([]string{"web-1795154820", "volume-data"}))
	for _, other := range []string{
		"", "shop/web/repository.yaml", "shop/web/snapshots/x.yaml",
		"shop/web/snapshots/a/b/c.yaml", "shop/web/snapshots/a/.yaml", "shop/webx/snapshots/a/b.yaml",
		"shop/web/snapshots/a/b.txt",
	} {
		_, _, ok := layout.ParseSnapshotComponentPath("shop/web", other)
		g.Expect(ok).To(BeFalse(), other)
	}
}

var created = time.Date(2026, 11, 20, 9, 0, 1, 0, time.FixedZone("CET", 3600))

const storageFile = `apiVersion: storage.cairn.dev/v1
cluster: production
clusterUID: 0f6c
created: "2026-11-20T08:00:01Z"
formatVersion: 1
kind: StorageMetadata
uid: 7e1a
`

func TestStorageMetadata(t *testing.T) {
	g := NewWithT(t)
	b, err := layout.StorageMetadata{UID: "7e1a", Cluster: "production", ClusterUID: "0f6c", Created: created}.Marshal()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(b)).To(Equal(storageFile))
	m, err := layout.ParseStorageMetadata(b)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(m.ClusterUID).To(Equal("0f6c"))
	g.Expect(m.Created).To(BeTemporally("==", created))
	g.Expect(m.Created.Location()).To(Equal(time.UTC))
}

func TestRepositoryMetadata(t *testing.T) {
	g := NewWithT(t)
	want := layout.RepositoryMetadata{
		Driver: "Kopia", AppRef: layout.AppRef{APIGroup: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		ClusterUID: "0f6c", RepositoryUID: "9b", RepositoryNamespace: "shop", RepositoryName: "shop-web",
		Created: created.UTC(), KeyID: "k1",
	}
	b, err := want.Marshal()
	g.Expect(err).NotTo(HaveOccurred())
	got, err := layout.ParseRepositoryMetadata(b)
	g.Expect(err).NotTo(HaveOccurred())
	got.Header = layout.Header{}
	g.Expect(got).To(Equal(want))
}

func TestComponentResult(t *testing.T) {
	g := NewWithT(t)
	want := layout.ComponentResult{
		Snapshot: "s", SnapshotUID: "u", Component: "volume-data", Phase: "Failed", ID: "k0", Path: "/data",
		Size: 1 << 40, Uploaded: 3, Files: 7, Start: created.UTC(), End: created.UTC().Add(time.Minute),
		Error: "exit status 1: \"x\"",
	}
	b, err := want.Marshal()
	g.Expect(err).NotTo(HaveOccurred())
	got, err := layout.ParseComponentResult(b)
	g.Expect(err).NotTo(HaveOccurred())
	got.Header = layout.Header{}
	g.Expect(got).To(Equal(want), "1 TiB is not rounded")
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, fails string }{
		"an unknown field":    {storageFile + "extra: 1\n", "extra"},
		"a field given twice": {storageFile + "uid: other\n", "uid"},
		"another kind": {
			strings.Replace(storageFile, "StorageMetadata", "RepositoryMetadata", 1),
			"RepositoryMetadata",
		},
		"a newer version": {
			strings.Replace(storageFile, "formatVersion: 1", "formatVersion: 2\nnewField: x", 1),
			"format version 2",
		},
		"no version":      {strings.Replace(storageFile, "formatVersion: 1\n", "", 1), "format version 0"},
		"a missing owner": {strings.Replace(storageFile, "clusterUID: 0f6c\n", "", 1), "clusterUID is missing"},
		"no YAML":         {"{", "parse StorageMetadata"},
		"nothing":         {"", "parse StorageMetadata"},
		"a wrong type":    {strings.Replace(storageFile, "uid: 7e1a", "uid: [a]", 1), "uid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := layout.ParseStorageMetadata([]byte(c.file))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.fails)))
		})
	}
}
