package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

// TestCommitted fails if somebody changed an API type, the catalog or a command and did not regenerate the pages.
func TestCommitted(t *testing.T) {
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			want, err := page()
			g.Expect(err).NotTo(HaveOccurred())
			again, err := page()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again).To(Equal(want), "equal input gives equal pages")
			got, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", name))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(got)).To(Equal(string(want)), "run: go run ./hack/refdocs")
		})
	}
}

func TestRun(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "new")
	g.Expect(run(dir)).To(Succeed())
	for name := range pages {
		g.Expect(filepath.Join(dir, name)).To(BeARegularFile())
	}
}

func parseSchema(t testing.TB, text string) schema {
	t.Helper()
	var s schema
	if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFields(t *testing.T) {
	g := NewWithT(t)
	got := fields("spec", parseSchema(t, `
type: object
required: [sessions]
properties:
  sessions:
    type: array
    minItems: 1
    maxItems: 3
    description: |-
      What runs
      when.
    x-kubernetes-list-type: map
    x-kubernetes-list-map-keys: [name]
    items:
      type: object
      required: [name]
      x-kubernetes-validations: [{rule: "self.a > 0", message: "a is more than 0"}, {rule: "self.b || true"}]
      properties:
        name: {type: string, pattern: "^a|b$", maxLength: 63}
        paused: {type: boolean, default: false}
  labels: {type: object, additionalProperties: {type: string, maxLength: 5}}
  parts:
    type: object
    additionalProperties: {type: object, properties: {size: {type: integer, minimum: 0, maximum: 9}}}
  phase: {type: string, enum: [Ready, Failed]}
  limit: {x-kubernetes-int-or-string: true}
  since: {type: string, format: date-time}
  selector: {type: object, properties: {matchLabels: {type: object}, matchExpressions: {type: array}}}
`))
	g.Expect(got).To(Equal([]field{
		{path: "spec.labels", kind: "map of string", rules: []string{"each: at most 5 characters"}},
		{path: "spec.limit", kind: "integer or string"},
		{path: "spec.parts", kind: "map of object"},
		{path: "spec.parts.<key>.size", kind: "integer", rules: []string{"at least 0", "at most 9"}},
		{path: "spec.phase", kind: "string", rules: []string{"one of `Ready`, `Failed`"}},
		{path: "spec.selector", kind: "LabelSelector"},
		{
			path: "spec.sessions", kind: "[]object", description: "What runs\nwhen.", required: true,
			rules: []string{
				"1 to 3 entries", "no two entries with the same name", "each: a is more than 0",
				"each: `self.b \\|\\| true`",
			},
		},
		{
			path: "spec.sessions[].name", kind: "string", required: true,
			rules: []string{"matches `^a\\|b$`", "at most 63 characters"},
		},
		{path: "spec.sessions[].paused", kind: "boolean", defaulted: "false"},
		{path: "spec.since", kind: "time"},
	}))
}

func TestMarkdown(t *testing.T) {
	g := NewWithT(t)
	g.Expect(plain("a|b\n <c>  [*]")).To(Equal(`a\|b \<c> [\*]`))
	g.Expect(sentence("Runs\nnow.")).To(Equal("Runs now."))
	g.Expect(sentence("Runs")).To(Equal("Runs."))
	g.Expect(sentence("")).To(BeEmpty())
	g.Expect(code("a`b")).To(Equal("`` a`b ``"))
	half := strings.Repeat("ü", 59)
	g.Expect(paragraph(half + "\n " + half + "ü " + half)).To(Equal(half + " " + half + "ü\n" + half + "\n"))
}

func TestRefusals(t *testing.T) {
	crd := func(body string) fstest.MapFS { return fstest.MapFS{"crd/bases/a.yaml": {Data: []byte(body)}} }
	catalog := func(body string) fstest.MapFS { return fstest.MapFS{"catalog/a.yaml": {Data: []byte(body)}} }
	for name, c := range map[string]struct {
		files fstest.MapFS
		fails string
	}{
		"no CRD":                         {fstest.MapFS{}, "no CRDs found"},
		"a CRD of two versions":          {crd("spec: {versions: [{name: v1}, {name: v2}]}"), "2 versions"},
		"a field that CRDs do not have":  {crd("spec: {verions: []}"), "verions"},
		"an object that is no catalogue": {catalog("kind: Secret"), `kind "Secret"`},
		"a misspelt field in an Addon":   {catalog("kind: Addon\nspec: {tasks: []}"), "tasks"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if _, is := c.files["catalog/a.yaml"]; is {
				_, err = readCatalog(c.files)
			} else {
				_, err = readCRDs(c.files)
			}
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.fails)))
		})
	}
}

// TestEveryReasonIsExplained compares the handwritten page with the constants.
func TestEveryReasonIsExplained(t *testing.T) {
	g := NewWithT(t)
	source, err := os.ReadFile(filepath.Join("..", "..", "api", "v1alpha1", "conditions.go"))
	g.Expect(err).NotTo(HaveOccurred())
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "conditions.md"))
	g.Expect(err).NotTo(HaveOccurred())
	inSource := values(regexp.MustCompile(`(?m)^\t(?:Reason|Condition)\w+ += "(\w+)"$`), string(source))
	inPage := values(regexp.MustCompile("(?m)^\\| `(\\w+)` \\|"), string(page))
	g.Expect(len(inSource)).To(BeNumerically(">", 100))
	g.Expect(inPage).To(ContainElements(inSource), "docs/reference/conditions.md")
	g.Expect(inSource).To(ContainElements(inPage), "docs/reference/conditions.md")
}

func values(pattern *regexp.Regexp, text string) []string {
	var out []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return slices.Compact(out)
}
