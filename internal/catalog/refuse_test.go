package catalog_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/variables"
)

func TestWhatAProbeRefuses(t *testing.T) {
	tasks := []v1alpha1.Task{{
		Name: "ask", Function: "ask",
		Parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: "stale"}}},
	}}
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: tasks, RestoreTasks: tasks}}
	for name, tc := range map[string]struct {
		unless  string
		params  map[string]string
		restore bool
		refuses bool
		says    string
	}{
		"always":  {refuses: true},
		"as told": {unless: "false", refuses: true},
		"nothing": {unless: "true"},
		"perhaps": {
			unless: "perhaps",
			says:   `Function "ask": stream.probe.refuse[0].unless: write "true" or "false", not "perhaps"`,
		},
		"a parameter": {
			unless: "${stale:=false}", params: map[string]string{"stale": "yes"},
			says: `Function "ask": parameter stale: write "true" or "false", not "yes"`,
		},
		"the default of a parameter": {
			unless: "${stale:=perhaps}",
			says:   `Function "ask": stream.probe.refuse[0].unless: write "true" or "false", not "perhaps"`,
		},
		"in a restore": {restore: true, refuses: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := &v1alpha1.Function{Spec: v1alpha1.FunctionSpec{Image: "database", Stream: &v1alpha1.FunctionStream{
				Command: []string{"dump"}, Probe: &v1alpha1.StreamProbe{
					Command: []string{"ask"},
					Refuse:  []v1alpha1.StreamRefusal{{Prefix: "no", Message: "why", Unless: tc.unless}},
				},
			}}}
			f.Name = "ask"
			info := &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
				Name: "ask", Params: catalog.NewParams(tc.params),
			}}}
			mistakes := catalog.FunctionMistakes("spec.addon", addon, info, tc.restore, variables.Builtin{},
				func(string) *v1alpha1.Function { return f })
			if tc.says != "" {
				g.Expect(mistakes).To(ConsistOf(HaveField("Message", ContainSubstring(tc.says))))
				return
			}
			g.Expect(mistakes).To(BeEmpty())
			stream, err := variables.Values{}.Stream(f.Spec.Stream, "")
			g.Expect(err).NotTo(HaveOccurred())
			if tc.refuses {
				g.Expect(stream.Probe.Refuse).To(ConsistOf(v1alpha1.ResolvedRefusal{Prefix: "no", Message: "why"}))
			} else {
				g.Expect(stream.Probe.Refuse).To(BeEmpty())
			}
		})
	}
}

// An Addon of an administrator can use the Functions of the catalog. It knows the variables that they had when it was
// written: a variable that comes later needs a default, or each policy on the Addon becomes invalid.
func TestVariablesOfFunctionsThatHaveNoDefault(t *testing.T) {
	g, found := NewWithT(t), map[string]bool{}
	files, err := filepath.Glob("../../policies/catalog/*-functions.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		for _, variable := range regexp.MustCompile(`\$\{[A-Za-z]+}`).FindAllString(string(text), -1) {
			found[variable] = true
		}
	}
	g.Expect(slices.Sorted(maps.Keys(found))).To(Equal([]string{
		"${args}", "${databases}", "${image}", "${moverImage}", "${schemas}", "${tables}", "${targetHost}",
		"${targetImage}", "${targetPort}", "${user}", "${value}",
	}))
}
