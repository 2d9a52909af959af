// Package lint proves that the linter holds every rule of .golangci.yml. The tests write a module with the path of ours
// into a temporary directory, plant one break of each rule in it, and run golangci-lint once.
package lint

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const config = "../../.golangci.yml"

// rules are the parts of .golangci.yml that name rules.
type rules struct {
	Linters struct {
		Enable   []string
		Settings struct {
			Depguard struct {
				Rules map[string]struct {
					ListMode string `yaml:"list-mode"`
					Deny     []struct{ Pkg string }
				}
			}
			Forbidigo struct{ Forbid []forbidden }
			Revive    struct{ Rules []struct{ Name string } }
		}
		Exclusions struct {
			WarnUnused bool `yaml:"warn-unused"`
		}
	}
	Formatters struct{ Enable []string }
}

// forbidden is a pattern of forbidigo.
type forbidden struct{ Pattern, Msg string }

// names returns the names of all rules. A linter with rules of its own has one name for each of them.
func (r *rules) names() []string {
	var out []string
	for _, linter := range slices.Concat(r.Linters.Enable, r.Formatters.Enable) {
		switch linter {
		case "depguard":
			for list, rule := range r.Linters.Settings.Depguard.Rules {
				if rule.ListMode == "strict" {
					out = append(out, "depguard/"+list)
				}
				for _, deny := range rule.Deny {
					out = append(out, "depguard/"+list+"/"+strings.TrimSuffix(deny.Pkg, "$"))
				}
			}
		case "forbidigo":
			for _, forbid := range r.Linters.Settings.Forbidigo.Forbid {
				out = append(out, "forbidigo/"+forbid.Pattern)
			}
		case "revive":
			for _, rule := range r.Linters.Settings.Revive.Rules {
				out = append(out, "revive/"+rule.Name)
			}
		default:
			out = append(out, linter)
		}
	}
	return out
}

// issue is what golangci-lint reports.
type issue struct {
	FromLinter, Text string
	Pos              struct {
		Filename string
		Line     int
	}
}

// breaks reports whether the issue is a break of the rule.
func (i issue) breaks(rule string, c *rules) bool {
	linter, part, _ := strings.Cut(rule, "/")
	if i.FromLinter != linter {
		return false
	}
	switch linter {
	case "depguard":
		list, pkg, _ := strings.Cut(part, "/")
		return strings.Contains(i.Text, "from list '"+list+"'") && strings.Contains(i.Text, "'"+pkg)
	case "revive":
		return strings.HasPrefix(i.Text, part+":")
	case "forbidigo":
		return slices.ContainsFunc(c.Linters.Settings.Forbidigo.Forbid, func(f forbidden) bool {
			return f.Pattern == part && strings.Contains(i.Text, strconv.Quote(f.Msg))
		})
	}
	return true
}

func TestLinterFindsEveryBreak(t *testing.T) {
	raw, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var c rules
	if err := yaml.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	planted := slices.Concat(plantedCode(), plantedImports())
	dir := t.TempDir()
	writeModule(t, dir, raw, planted)
	issues, unused := run(t, dir)
	if !c.Linters.Exclusions.WarnUnused {
		t.Error("without warn-unused, nothing tells which exclusions exclude nothing")
	}
	for _, exclusion := range unused {
		t.Errorf("plant code that this exclusion allows: %s", exclusion)
	}
	for _, rule := range c.names() {
		t.Run(rule, func(t *testing.T) {
			found := false
			for _, p := range planted {
				if p.rule == rule {
					found = true
					p.check(t, issues, &c)
				}
			}
			if !found {
				t.Errorf("plant a break of %s in this package", rule)
			}
		})
	}
	names := c.names()
	for _, p := range planted {
		if p.rule != "" && !slices.Contains(names, p.rule) {
			t.Errorf("the configuration has lost the rule %s, which %s breaks", p.rule, p.file)
		}
		if p.rule != "" {
			continue
		}
		t.Run("allowed "+p.file, func(t *testing.T) {
			for _, i := range issues {
				if i.Pos.Filename == p.file {
					t.Errorf("line %d: %s: %s", i.Pos.Line, i.FromLinter, i.Text)
				}
			}
		})
	}
}

// planted is a file with a break of one rule, or without one if the rule is empty.
type planted struct {
	rule, file, source string
	// at is a part of the line that is reported. If it is empty, any line counts.
	at string
}

// check fails the test if no issue reports the break.
func (p planted) check(t *testing.T, issues []issue, c *rules) {
	t.Helper()
	lines := strings.Split(p.source, "\n")
	var others []string
	for _, i := range issues {
		if i.Pos.Filename != p.file {
			continue
		}
		if i.breaks(p.rule, c) && i.Pos.Line <= len(lines) && strings.Contains(lines[max(i.Pos.Line, 1)-1], p.at) {
			return
		}
		others = append(others, fmt.Sprintf("%d: %s: %s", i.Pos.Line, i.FromLinter, i.Text))
	}
	t.Errorf("no report of %q in %s, only %q", p.at, p.file, others)
}

// writeModule writes the module, and a module with an empty package for each package that it imports from elsewhere.
func writeModule(t *testing.T, dir string, config []byte, all []planted) {
	t.Helper()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mod := "module " + ours + "\n\ngo 1.26\n"
	for path, version := range others {
		write("stubs/"+path+"/go.mod", "module "+path+"\n")
		write("stubs/"+path+"/stub.go",
			fmt.Sprintf("// Package %[1]s is imported.\npackage %[1]s\n\n"+
				"// Zero is imported.\ntype Zero struct{}\n%[2]s", packageName(path), contents[path]))
		mod += fmt.Sprintf("\nrequire %s %s\n\nreplace %[1]s => ./stubs/%[1]s\n", path, version)
	}
	write("go.mod", mod)
	write(".golangci.yml", string(config))
	for _, target := range targets {
		write(target+"/target.go",
			"// Package target is imported.\npackage target\n\n// Zero is imported.\ntype Zero struct{}\n")
	}
	for _, p := range all {
		write(p.file, p.source)
	}
}

// packageName returns the name of a package with this path.
func packageName(importPath string) string {
	name := path.Base(importPath)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = path.Base(path.Dir(importPath))
	}
	return strings.ReplaceAll(name, "-", "")
}

// unusedRule is the warning about an exclusion that excludes nothing.
var unusedRule = regexp.MustCompile(`Skipped 0 issues by rules: \[([^\]]*)\]`)

// run returns what golangci-lint reports in dir, and the exclusions that exclude nothing there.
func run(t *testing.T, dir string) (issues []issue, unused []string) {
	t.Helper()
	program, err := filepath.Abs("../../bin/golangci-lint")
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	command := exec.CommandContext(t.Context(), program, "run", "--max-issues-per-linter=0", "--max-same-issues=0",
		"--issues-exit-code=0", "--allow-parallel-runners", "--output.json.path="+report)
	command.Dir, command.Env = dir, append(os.Environ(), "LOG_LEVEL=warn")
	printed, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("run golangci-lint: %v\n%s", err, printed)
	}
	for _, match := range unusedRule.FindAllStringSubmatch(string(printed), -1) {
		unused = append(unused, match[1])
	}
	raw, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Issues []issue }
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	for i := range out.Issues {
		if out.Issues[i].FromLinter == "typecheck" {
			t.Errorf("the planted code must compile: %s: %s", out.Issues[i].Pos.Filename, out.Issues[i].Text)
		}
		out.Issues[i].Pos.Filename = filepath.ToSlash(out.Issues[i].Pos.Filename)
	}
	return out.Issues, unused
}
