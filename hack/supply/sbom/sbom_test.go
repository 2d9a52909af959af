package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"
)

// archive writes an image of one layer with these files, and returns its path.
func archive(t *testing.T, files map[string][]byte) string {
	t.Helper()
	pack := func(files map[string][]byte) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for name, content := range files {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	name := filepath.Join(t.TempDir(), "app.tar")
	err := os.WriteFile(name, pack(map[string][]byte{
		"manifest.json": []byte(`[{"Config":"c.json","RepoTags":["cairn.local/app:dev"],"Layers":["l.tar"]}]`),
		"c.json":        []byte(`{"created":"1970-01-01T00:00:00Z"}`), "l.tar": pack(files),
	}), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestABillOfMaterials describes an image with the program of this test in it, and compares the description with what
// Go says of the program.
func TestABillOfMaterials(t *testing.T) {
	g := NewWithT(t)
	program, err := os.ReadFile(os.Args[0])
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string][]byte{"app": program, "etc/passwd": []byte("root:x:0:0::/:\n"), "other": program}
	var texts [][]byte
	for range 2 { // the order of a map differs
		name := archive(t, files)
		g.Expect(run([]string{name})).To(Succeed())
		text, err := os.ReadFile(filepath.Join(filepath.Dir(name), "app.spdx.json"))
		g.Expect(err).NotTo(HaveOccurred())
		texts = append(texts, text)
	}
	g.Expect(texts[0]).To(Equal(texts[1]), "the same image makes the same bytes")
	var d document
	g.Expect(json.Unmarshal(texts[0], &d)).To(Succeed())
	g.Expect(d.Version).To(Equal("SPDX-2.3"))
	g.Expect(d.Files).To(HaveLen(3))
	g.Expect(d.Files[0].Name).To(Equal("/app"))

	built, err := buildinfo.ReadFile(os.Args[0])
	g.Expect(err).NotTo(HaveOccurred())
	packages := map[string]spdxPackage{}
	for _, p := range d.Packages {
		packages[p.Name] = p
	}
	g.Expect(packages).To(HaveLen(len(d.Packages)), "each package is there once")
	g.Expect(built.Deps).NotTo(BeEmpty())
	for _, m := range built.Deps {
		p := packages[m.Path]
		g.Expect(p.Version).To(Equal(m.Version), m.Path)
		g.Expect(p.Checksums).To(HaveLen(1), m.Path)
		g.Expect(p.Checksums[0].Value).To(MatchRegexp(`^[0-9a-f]{64}$`), m.Path)
		g.Expect(p.Refs[0].Locator).To(Equal("pkg:golang/" + m.Path + "@" + m.Version))
	}
	g.Expect(packages["github.com/google/licensecheck"].Declared).To(Equal("BSD-3-Clause"))
	g.Expect(packages["golang.org/x/mod"].Declared).To(Equal("BSD-3-Clause"))
	g.Expect("go" + packages["stdlib"].Version).To(Equal(built.GoVersion))
	g.Expect(packages["cairn.local/app:dev"].Purpose).To(Equal("CONTAINER"))
}

// TestTheDocumentIsWhole follows each relationship, as a reader of SPDX does.
func TestTheDocumentIsWhole(t *testing.T) {
	g := NewWithT(t)
	program, err := os.ReadFile(os.Args[0])
	g.Expect(err).NotTo(HaveOccurred())
	f, err := os.Open(archive(t, map[string][]byte{"app": program}))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	img, err := readImage(f)
	g.Expect(err).NotTo(HaveOccurred())
	d := describe(img, func(string, string) string { return unknown })
	ids := map[string]bool{d.ID: true}
	for _, p := range d.Packages {
		ids[p.ID] = true
		g.Expect([]string{p.Download, p.Declared, p.Concluded, p.Copyright}).NotTo(ContainElement(""), p.Name)
	}
	for _, f := range d.Files {
		ids[f.ID] = true
	}
	g.Expect(ids).To(HaveLen(1+len(d.Packages)+len(d.Files)), "no ID is used twice")
	reached := map[string]bool{d.ID: true}
	for _, r := range d.Relationships {
		g.Expect(ids).To(HaveKey(r.From))
		g.Expect(ids).To(HaveKey(r.To))
		g.Expect(r.From).To(MatchRegexp(regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).String()))
		reached[r.To] = true
	}
	g.Expect(reached).To(HaveLen(len(ids)), "everything is related to the image")
}

func TestWhatIsNoImage(t *testing.T) {
	g := NewWithT(t)
	name := filepath.Join(t.TempDir(), "app.tar")
	g.Expect(os.WriteFile(name, []byte("no archive"), 0o644)).To(Succeed())
	g.Expect(run([]string{name})).To(MatchError(ContainSubstring("manifest.json")))
	g.Expect(run(nil)).NotTo(Succeed())
	g.Expect(run([]string{"image"})).To(MatchError(ContainSubstring(".tar")))
}

func TestLicences(t *testing.T) {
	g, dir := NewWithT(t), t.TempDir()
	g.Expect(licenceIn(dir)).To(Equal(unknown))
	g.Expect(os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("ask me"), 0o644)).To(Succeed())
	g.Expect(licenceIn(dir)).To(Equal(unknown))
	text, err := os.ReadFile("../../../LICENSE")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(dir, "LICENSE"), text, 0o644)).To(Succeed())
	g.Expect(licenceIn(dir)).To(Equal("Apache-2.0"))
}
