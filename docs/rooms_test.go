package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const module = "github.com/cairn-backup/cairn/"

// forTests are the packages that only tests import.
var forTests = regexp.MustCompile(`test$|^internal/testbed|^internal/repository/(enginetest|kopia/faultstore)`)

// TestThePictureShowsTheImports holds the picture of the rooms against the code: imports point down, and to the right.
func TestThePictureShowsTheImports(t *testing.T) {
	rooms, imports := drawnRooms(t), importsOf(t)
	for _, wrong := range wrongArrows(rooms, imports) {
		t.Error(wrong)
	}
	NewWithT(t).Expect(len(rooms)).To(BeNumerically(">", 30), "the picture draws the pure packages")
}

// TestAWrongArrowIsFound plants imports that the picture must not allow.
func TestAWrongArrowIsFound(t *testing.T) {
	g := NewWithT(t)
	rooms := drawn("internal/run/{restore,backup}, internal/run\ninternal/policy/check\ninternal/policy\n")
	g.Expect(rooms).To(Equal([]string{
		"internal/run/restore", "internal/run/backup", "internal/run", "internal/policy/check", "internal/policy",
	}))
	g.Expect(wrongArrows(rooms, map[string][]string{
		"internal/run/restore":       {"internal/run/backup", "internal/policy"},
		"internal/policy/check":      {"internal/policy"},
		"internal/policy/policytest": {"internal/policy"},
		"internal/run/deep/down":     {"internal/run"},
		"internal/mover":             {"internal/policy"},
	})).To(BeEmpty())
	for from, to := range map[string]string{
		"internal/policy":      "internal/policy/check",      // up
		"internal/run/backup":  "internal/run/restore",       // to the left
		"internal/policy/deep": "internal/run",               // up, from a package below a room
		"internal/run":         "internal/policy/policytest", // tests alone
		"internal/drawer":      "internal/policy",            // not drawn
	} {
		g.Expect(wrongArrows(rooms, map[string][]string{from: {to}})).To(HaveLen(1), from)
	}
}

// TestTheMapNamesEveryPackage finds packages that neither the picture nor the contributor's guide names.
func TestTheMapNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile("contributing.md")
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	known := append(mapped(string(page)), drawnRooms(t)...)
	packages := importsOf(t)
	for name := range packages {
		if !slices.Contains(known, name) && !ofKind(t, name) {
			t.Errorf("%s is neither in the picture of architecture.md nor in the map of contributing.md", name)
		}
	}
	for _, name := range drawnRooms(t) {
		g.Expect(packages).To(HaveKey(name), "the picture draws it")
	}
	for _, name := range regexp.MustCompile("`(internal/[a-z0-9/]+)`").FindAllStringSubmatch(string(page), -1) {
		g.Expect(filepath.Join("..", name[1])).To(BeADirectory(), "the map names it")
	}
	g.Expect(mapped("| `internal/a`, `b` | one; below it `c` |\n| `other` | `d` |\ntext `internal/e`\n")).To(Equal(
		[]string{"internal/a", "internal/b", "internal/a/b", "internal/c", "internal/a/c"}))
}

// ofKind reports whether a package is the controller of a kind, which the map calls controllers/<kind>.
func ofKind(t *testing.T, name string) bool {
	t.Helper()
	kind, ok := strings.CutPrefix(name, "controllers/")
	if !ok {
		return false
	}
	plurals := []string{kind + "s", kind + "es", strings.TrimSuffix(kind, "y") + "ies"}
	return slices.ContainsFunc(plurals, func(plural string) bool {
		_, err := os.Stat("../config/crd/bases/backup.cairn.dev_" + plural + ".yaml")
		return err == nil
	})
}

// drawnRooms returns the packages below the line of the picture.
func drawnRooms(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := strings.Cut(string(page), "──────\n")
	picture, _, _ = strings.Cut(picture, "```")
	return drawn(picture)
}

// drawn returns the packages that a picture draws, from the top to the bottom and from left to right.
func drawn(picture string) []string {
	var out []string
	for _, room := range regexp.MustCompile(`internal/[\w/]*(\{[\w,]+})?`).FindAllString(picture, -1) {
		base, several, _ := strings.Cut(strings.TrimSuffix(room, "}"), "{")
		for name := range strings.SplitSeq(several, ",") {
			out = append(out, base+name)
		}
	}
	return out
}

// mapped returns the packages that the rows of the map name. A name without a slash stands beside or below the first
// path of its row.
func mapped(page string) []string {
	var out []string
	words := regexp.MustCompile("`([a-z0-9/]+)`")
	for row := range strings.Lines(page) {
		if !strings.HasPrefix(row, "| `internal/") && !strings.HasPrefix(row, "| `controllers/") {
			continue
		}
		first := ""
		for _, word := range words.FindAllStringSubmatch(row, -1) {
			switch {
			case strings.HasPrefix(word[1], "internal/"), strings.HasPrefix(word[1], "controllers/"):
				if first == "" {
					first = word[1]
				}
				out = append(out, word[1])
			case first != "":
				out = append(out, path.Join(path.Dir(first), word[1]), path.Join(first, word[1]))
			}
		}
	}
	return out
}

// wrongArrows lists the imports between pure packages that the rooms do not allow.
func wrongArrows(rooms []string, imports map[string][]string) []string {
	var out []string
	for from, all := range imports {
		at, above := place(rooms, from), slices.ContainsFunc([]string{"kube", "cli", "mover"}, func(part string) bool {
			return strings.HasPrefix(from+"/", "internal/"+part+"/")
		})
		switch {
		case forTests.MatchString(from) || strings.HasPrefix(from, "controllers/"):
			continue
		case at < 0 && !above:
			out = append(out, from+" is not in the picture")
			continue
		}
		for _, to := range all {
			below := place(rooms, to)
			switch {
			case forTests.MatchString(to):
				out = append(out, from+" imports "+to+", which is for tests")
			case !above && below >= 0 && below < at:
				out = append(out, from+" imports "+to+", which the picture draws above or to the left")
			}
		}
	}
	slices.Sort(out)
	return out
}

// place returns where the room of a package is, or -1. A package that is not drawn belongs to the room around it.
func place(rooms []string, name string) int {
	for ; name != "internal" && name != "."; name = path.Dir(name) {
		if i := slices.Index(rooms, name); i >= 0 {
			return i
		}
	}
	return -1
}

// importsOf returns the packages below internal and controllers, each with what it imports of ours outside its tests.
func importsOf(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, root := range []string{"internal", "controllers"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(file string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), "../")
			out[name] = slices.Grow(out[name], 1)
			for _, spec := range parsed.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(out[name], ours) {
					out[name] = append(out[name], ours)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
