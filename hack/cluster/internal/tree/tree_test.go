package tree

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func manifest(t testing.TB, dir string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Manifest(&b, dir, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func fixtureIn(t testing.TB, dir string) string {
	t.Helper()
	if err := Fixture(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTwoFixturesAreEqual(t *testing.T) {
	g := NewWithT(t)
	a := manifest(t, fixtureIn(t, t.TempDir()))
	g.Expect(manifest(t, fixtureIn(t, t.TempDir()))).To(Equal(a))
	g.Expect(strings.Count(a, "\n")).To(BeNumerically(">", 100))
}

func TestTheFixtureHoldsTheHardCases(t *testing.T) {
	g := NewWithT(t)
	m := manifest(t, fixtureIn(t, t.TempDir()))
	for _, want := range []string{
		`file 7777 `, `dir 2770 `, ` 67108864 yes `, ` "names/new\nline"`,
		` "links/dangling" -> "there is no such file"`,
		` -2.500000001 4 no `, ` -2.500000001 0 no - "times/dir before 1970"`,
		` -2.500000001 11 no - "times/link before 1970"`,
	} {
		g.Expect(m).To(ContainSubstring(want))
	}
	if os.Geteuid() == 0 {
		g.Expect(m).To(ContainSubstring(`file 0000 `))
		g.Expect(m).To(MatchRegexp(`link 0777 2000000001 2000000002 `))
	}
}

func TestTarAndUntarKeepEverything(t *testing.T) {
	g := NewWithT(t)
	from, to := fixtureIn(t, t.TempDir()), t.TempDir()
	var stream bytes.Buffer
	g.Expect(Tar(&stream, from)).To(Succeed())
	g.Expect(Untar(bytes.NewReader(stream.Bytes()), to)).To(Succeed())
	g.Expect(manifest(t, to)).To(Equal(manifest(t, from)))
	g.Expect(sameFile(t, filepath.Join(to, "links/target"), filepath.Join(to, "links/hard"))).
		To(BeTrue(), "hard links stay linked")

	g.Expect(Untar(bytes.NewReader(stream.Bytes()), to)).To(Succeed(), "over what is there")
	g.Expect(manifest(t, to)).To(Equal(manifest(t, from)))
}

func TestGNUTarsStreamsUnpackTheSame(t *testing.T) {
	for name, format := range map[string]string{
		"as PAX with sparse files":    "--format=pax",
		"as old GNU tar writes files": "--format=gnu",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			from, to := fixtureIn(t, t.TempDir()), t.TempDir()
			if format == "--format=gnu" { // that format has whole seconds only
				g.Expect(os.RemoveAll(filepath.Join(from, "times"))).To(Succeed())
			}
			out, err := exec.Command("tar", format, "--sparse", "-C", from, "-cf", filepath.Join(to, "../x.tar"), ".").
				CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), string(out))
			f, err := os.Open(filepath.Join(to, "../x.tar"))
			g.Expect(err).NotTo(HaveOccurred())
			defer f.Close()
			g.Expect(Untar(f, to)).To(Succeed())
			got, want := manifest(t, to), manifest(t, from)
			if format == "--format=gnu" {
				got, want = withoutTimes(got), withoutTimes(want)
			}
			g.Expect(got).To(Equal(want))
		})
	}
}

// withoutTimes removes the fifth field and the sum.
func withoutTimes(m string) string {
	var b strings.Builder
	for line := range strings.Lines(m) {
		if f := strings.SplitN(line, " ", 6); len(f) == 6 && f[0] != "sha256" {
			b.WriteString(strings.Join(append(f[:4], f[5]), " "))
		}
	}
	return b.String()
}

func TestTheManifestSeesEveryChange(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"one byte of content": func(d string) error {
			f, err := os.OpenFile(filepath.Join(d, "contents/random"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err = f.WriteAt([]byte{0}, 1234); err != nil {
				return err
			}
			return setTime(f.Name(), fixtureTime)
		},
		"a mode": func(d string) error { return os.Chmod(filepath.Join(d, "contents/random"), 0o700) },
		"a nanosecond": func(d string) error {
			return setTime(filepath.Join(d, "contents/random"), fixtureTime.Add(1))
		},
		"a nanosecond of links": func(d string) error {
			return setTime(filepath.Join(d, "links/loop"), fixtureTime.Add(1))
		},
		"holes filled": func(d string) error {
			b, err := os.ReadFile(filepath.Join(d, "contents/sparse"))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(d, "contents/sparse"), b, 0o644); err != nil {
				return err
			}
			return setTime(filepath.Join(d, "contents/sparse"), fixtureTime)
		},
		"a directory's time": func(d string) error { return setTime(filepath.Join(d, "contents"), fixtureTime.Add(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := fixtureIn(t, t.TempDir())
			before := manifest(t, dir)
			g.Expect(change(dir)).To(Succeed())
			g.Expect(manifest(t, dir)).NotTo(Equal(before))
		})
	}
}

func TestUntarStaysInItsDirectory(t *testing.T) {
	for name, headers := range map[string][]*tar.Header{
		"a path upwards":   {{Typeflag: tar.TypeReg, Name: "../evil"}},
		"an absolute path": {{Typeflag: tar.TypeReg, Name: "/evil"}},
		"through a link": {
			{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, {Typeflag: tar.TypeReg, Name: "l/evil"},
		},
		"a hard link outwards": {{Typeflag: tar.TypeLink, Name: "h", Linkname: "../secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			parent := t.TempDir()
			dir := filepath.Join(parent, "dir")
			g.Expect(os.Mkdir(dir, 0o755)).To(Succeed())
			g.Expect(os.WriteFile(filepath.Join(parent, "secret"), nil, 0o600)).To(Succeed())
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			for _, h := range headers {
				g.Expect(tw.WriteHeader(h)).To(Succeed())
			}
			g.Expect(tw.Close()).To(Succeed())
			g.Expect(Untar(&b, dir)).NotTo(Succeed())
			g.Expect(filepath.Join(parent, "evil")).NotTo(BeAnExistingFile())
		})
	}
}

func sameFile(t testing.TB, a, b string) bool {
	t.Helper()
	ai, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	bi, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(ai, bi)
}
