package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// database writes a database with one advisory.
func database(t *testing.T, module, fixed string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index/db.json": `{"modified":"2026-05-04T03:02:01Z"}`,
		"index/modules.json": `[{"path":"` + module + `",
			"vulns":[{"id":"GO-2026-9999","modified":"2026-05-04T03:02:01Z"}]}]`,
		"index/vulns.json": `[{"id":"GO-2026-9999","modified":"2026-05-04T03:02:01Z"}]`,
		"ID/GO-2026-9999.json": `{"schema_version":"1.3.1","id":"GO-2026-9999","modified":"2026-05-04T03:02:01Z",
			"published":"2026-05-04T03:02:01Z","summary":"Made for a test","details":"Made for a test",
			"affected":[{"package":{"name":"` + module + `","ecosystem":"Go"},
			"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"` + fixed + `"}]}],
			"ecosystem_specific":{}}]}`,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program builds a program of Cairn that uses a module, stripped as the shipped ones are.
func program(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trimcrds")
	c := exec.CommandContext(t.Context(), "go", "build", "-C", "../../..", "-ldflags", "-s -w", "-o", out,
		"./hack/trimcrds")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func TestAnAdvisoryForAModuleOfCairnIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		module, fixed string
		found         bool
	}{
		"a module that the program has":   {module: "go.yaml.in/yaml/v3", fixed: "3.99.0", found: true},
		"the standard library":            {module: "stdlib", fixed: "1.999.0", found: true},
		"a version that is fixed":         {module: "go.yaml.in/yaml/v3", fixed: "3.0.0"},
		"a module that the program lacks": {module: "example.com/other", fixed: "3.99.0"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			err := run(t.Context(), &out, database(t, tc.module, tc.fixed), []string{program(t)})
			g.Expect(out.String()).To(ContainSubstring("advisories up to 2026-05-04"))
			if !tc.found {
				g.Expect(err).NotTo(HaveOccurred(), out.String())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring("GO-2026-9999: " + tc.module + " v")))
		})
	}
}

func TestWithoutADatabaseNothingPasses(t *testing.T) {
	empty, broken := t.TempDir(), database(t, "example.com/other", "1.0.0")
	if err := os.WriteFile(filepath.Join(broken, "index/modules.json"), []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]string{
		"none": "", "an empty directory": empty, "no directory": filepath.Join(empty, "none"),
		"no advisories": broken,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			err := run(t.Context(), &out, db, []string{os.Args[0]})
			g.Expect(err).To(MatchError(ContainSubstring("no database of advisories at hand: nothing was checked")))
			g.Expect(out.String()).To(BeEmpty())
		})
	}
}

func TestWhatIsNoProgramFails(t *testing.T) {
	g := NewWithT(t)
	db := database(t, "example.com/other", "1.0.0")
	var out bytes.Buffer
	g.Expect(run(t.Context(), &out, db, nil)).To(MatchError(ContainSubstring("nothing was checked")))
	g.Expect(run(t.Context(), &out, db, []string{filepath.Join(db, "index/db.json")})).NotTo(Succeed())
}
