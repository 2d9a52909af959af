package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// entries reads a tar file into headers and contents by name.
func entries(t testing.TB, r io.Reader) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	headers, contents := map[string]*tar.Header{}, map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if headers[h.Name] != nil {
			t.Fatalf("%s is twice in the archive", h.Name)
		}
		headers[h.Name], contents[h.Name] = h, string(b)
	}
}

// open returns the layer and the configuration of an archive.
func open(
	t testing.TB, archive []byte,
) (headers map[string]*tar.Header, contents map[string]string, config imageConfig) {
	t.Helper()
	_, outer := entries(t, bytes.NewReader(archive))
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal([]byte(outer["manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(outer[manifest[0].Config]), &config); err != nil {
		t.Fatal(err)
	}
	headers, contents = entries(t, bytes.NewReader([]byte(outer[manifest[0].Layers[0]])))
	return headers, contents, config
}

func build(t testing.TB, s Spec) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestTheSameInputMakesTheSameBytes(t *testing.T) {
	g := NewWithT(t)
	make := func() []byte {
		dir := t.TempDir() // another path, other times
		root := filepath.Join(dir, "root")
		write(t, filepath.Join(root, "etc/b"), "b")
		write(t, filepath.Join(root, "etc/a"), "a")
		app := write(t, filepath.Join(dir, "app"), "program")
		return build(t,
			Spec{
				Ref: "cairn.local/app:dev", Roots: []string{root},
				Files: []File{{app, "/bin/app"}, {app, "/bin/other"}},
			})
	}
	g.Expect(make()).To(Equal(make()))
}

func TestAnImageServesUsersWithoutRights(t *testing.T) {
	g := NewWithT(t)
	app := write(t, filepath.Join(t.TempDir(), "app"), "program")
	headers, contents, config := open(t, build(t, Spec{
		Ref: "cairn.local/app:dev", Files: []File{{app, "/app"}}, Entrypoint: []string{"/app"}, User: "65532:65532",
	}))
	g.Expect(headers["tmp/"].Mode).To(Equal(int64(0o1777)))
	g.Expect(headers["app"].Mode).To(Equal(int64(0o755)))
	g.Expect(contents["app"]).To(Equal("program"))
	g.Expect(contents["etc/passwd"]).To(ContainSubstring("nonroot:x:65532:65532:"))
	g.Expect(config.Config.User).To(Equal("65532:65532"))
	g.Expect(config.Config.Entrypoint).To(Equal([]string{"/app"}))
	if want, err := os.ReadFile(CAFile); err == nil {
		g.Expect(contents[CAFile[1:]]).To(Equal(string(want)))
	} else {
		g.Expect(headers).NotTo(HaveKey(CAFile[1:]))
	}
}

func TestFilesWinOverRootsAndRootsOverTheBase(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	write(t, filepath.Join(root, "etc/passwd"), "postgres")
	write(t, filepath.Join(root, "usr/lib/x"), "from the root")
	g.Expect(os.Symlink("usr/lib", filepath.Join(root, "lib"))).To(Succeed())
	g.Expect(os.Link(filepath.Join(root, "etc/passwd"), filepath.Join(root, "etc/same"))).To(Succeed())
	x := write(t, filepath.Join(dir, "x"), "from the file")
	headers, contents, _ := open(t, build(t, Spec{
		Ref: "cairn.local/app:dev", Roots: []string{root}, Files: []File{{x, "/usr/lib/x"}, {x, "/usr/lib/y"}},
	}))
	g.Expect(contents["etc/passwd"]).To(Equal("postgres"))
	g.Expect(headers["etc/passwd"].Mode).To(Equal(int64(0o640)), "modes of a root stay")
	g.Expect(contents["usr/lib/x"]).To(Equal("from the file"))
	g.Expect(headers["usr/lib/y"].Linkname).To(Equal("usr/lib/x"), "one file twice is a hard link")
	g.Expect(headers["lib"].Linkname).To(Equal("usr/lib"))
	g.Expect(headers["etc/same"].Linkname).To(Equal("etc/passwd"))
}

func TestARootMayBeATarFile(t *testing.T) {
	g := NewWithT(t)
	name := filepath.Join(t.TempDir(), "root.tar")
	f, err := os.Create(name)
	g.Expect(err).NotTo(HaveOccurred())
	tw := tar.NewWriter(f)
	g.Expect(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./srv/", Mode: 0o2770, Uid: 7})).To(Succeed())
	g.Expect(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null"})).To(Succeed())
	g.Expect(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "../srv/f", Mode: 0o4711, Gid: 8, Size: 1})).
		To(Succeed())
	_, err = tw.Write([]byte("x"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tw.Close()).To(Succeed())
	g.Expect(f.Close()).To(Succeed())

	headers, contents, _ := open(t, build(t, Spec{Ref: "cairn.local/app:dev", Roots: []string{name}}))
	g.Expect(headers["srv/"].Mode).To(Equal(int64(0o2770)))
	g.Expect(headers["srv/"].Uid).To(Equal(7))
	g.Expect(headers["srv/f"].Mode).To(Equal(int64(0o4711)))
	g.Expect(headers["srv/f"].Gid).To(Equal(8))
	g.Expect(contents["srv/f"]).To(Equal("x"))
	g.Expect(headers).NotTo(HaveKey("dev/null"))
}

func TestReferences(t *testing.T) {
	for name, tc := range map[string]struct {
		ref string
		ok  bool
	}{
		"a host part and a tag":     {"cairn.local/app:dev", true},
		"no host part":              {"app:dev", false},
		"a user is not a host":      {"library/app:dev", false},
		"no tag":                    {"cairn.local/app", false},
		"latest would be pulled":    {"cairn.local/app:latest", false},
		"upper case is not allowed": {"cairn.local/App:dev", false},
		"a digest is not made by us": {
			"cairn.local/app@sha256:0000000000000000000000000000000000000000000000000000000000000000", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := Spec{Ref: tc.ref, Files: []File{{"x", "/x"}}}.Validate()
			NewWithT(t).Expect(err == nil).To(Equal(tc.ok), "error: %v", err)
		})
	}
}

func TestParseLdd(t *testing.T) {
	for name, tc := range map[string]struct {
		out  string
		want []string
		err  string
	}{
		"libraries, the loader, and the vdso": {
			out: "\tlinux-vdso.so.1 (0x00007f70b7b80000)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 " +
				"(0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n",
			want: []string{"/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"},
		},
		"a loader with an arrow":    {out: "\t/lib64/ld.so => /lib64/ld.so (0x1)\n", want: []string{"/lib64/ld.so"}},
		"a static program":          {out: "\tnot a dynamic executable\n"},
		"a static PIE program":      {out: "\tstatically linked\n"},
		"a library that is missing": {out: "\tlibnone.so.1 => not found\n", err: "libnone.so.1 is not on this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := parseLdd(tc.out)
			if tc.err != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.err)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

func TestAProgramRunsWithItsLibrariesAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot takes root")
	}
	g := NewWithT(t)
	git, err := exec.LookPath("git")
	g.Expect(err).NotTo(HaveOccurred())
	files, err := WithLibraries(git, "/usr/bin/git")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(files)).To(BeNumerically(">", 2))
	_, contents, _ := open(t, build(t, Spec{Ref: "cairn.local/git:dev", Files: files}))

	root := t.TempDir()
	for name, text := range contents {
		if name[len(name)-1] != '/' {
			g.Expect(os.Chmod(write(t, filepath.Join(root, name), text), 0o755)).To(Succeed())
		}
	}
	write(t, filepath.Join(root, "dev/null"), "") // git opens it
	out, err := exec.Command("chroot", root, "/usr/bin/git", "--version").CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(string(out)).To(HavePrefix("git version"))
}
