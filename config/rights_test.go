package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// quoted returns words as code, with commas between them.
func quoted(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

// rowOf returns how the page of rights shows a rule: its first two columns.
func rowOf(rule *rbacv1.PolicyRule) string {
	what := quoted(rule.Resources)
	if !slices.Equal(rule.APIGroups, []string{""}) {
		what += " of " + quoted(rule.APIGroups)
	}
	if len(rule.ResourceNames) > 0 {
		what += ": " + quoted(rule.ResourceNames)
	}
	return "| " + what + " | " + strings.Join(rule.Verbs, ", ") + " |"
}

// rulesOfTheManager returns the rules of all ClusterRoles that are bound to the manager: its own first.
func rulesOfTheManager(g *WithT) []rbacv1.PolicyRule {
	roles, bound := map[string][]rbacv1.PolicyRule{}, []string{}
	for _, resource := range built(g, "default") {
		switch resource.GetKind() {
		case "ClusterRole":
			var role rbacv1.ClusterRole
			g.Expect(yaml.UnmarshalStrict([]byte(resource.MustYaml()), &role)).To(Succeed())
			roles[role.Name] = role.Rules
		case "ClusterRoleBinding":
			var binding rbacv1.ClusterRoleBinding
			g.Expect(yaml.UnmarshalStrict([]byte(resource.MustYaml()), &binding)).To(Succeed())
			if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Name == "cairn-manager" }) {
				bound = append(bound, binding.RoleRef.Name)
			}
		}
	}
	slices.Sort(bound) // cairn-manager before cairn-metrics-review
	var rules []rbacv1.PolicyRule
	for _, name := range bound {
		g.Expect(roles).To(HaveKey(name))
		rules = append(rules, roles[name]...)
	}
	return rules
}

// TestThePageOfRightsHasEachRuleOfTheManager fails if a ClusterRole of the manager changes without the page.
func TestThePageOfRightsHasEachRuleOfTheManager(t *testing.T) {
	g := NewWithT(t)
	var want []string
	rules := rulesOfTheManager(g)
	for i := range rules {
		want = append(want, rowOf(&rules[i]))
	}

	page, err := os.ReadFile(filepath.Join("..", "docs", "reference", "rights.md"))
	g.Expect(err).NotTo(HaveOccurred())
	_, table, found := strings.Cut(string(page), "| What | Verbs | Why | What limits it |\n| --- | --- | --- | --- |\n")
	g.Expect(found).To(BeTrue(), "the page has the table")
	table, _, _ = strings.Cut(table, "\n\n")
	var has []string
	for _, row := range strings.Split(table, "\n") {
		cells := strings.Split(row, " | ")
		g.Expect(cells).To(HaveLen(4), row)
		g.Expect(strings.TrimSpace(strings.Join(cells[2:], ""))).NotTo(BeEmpty(), row)
		has = append(has, cells[0]+" | "+cells[1]+" |")
	}
	g.Expect(has).To(Equal(want), "docs/reference/rights.md has a row for each rule, in the same order")
}

// TestEachPolicyOfThePageIsInstalled keeps the names in the page and in the kustomization true.
func TestEachPolicyOfThePageIsInstalled(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "docs", "reference", "rights.md"))
	g.Expect(err).NotTo(HaveOccurred())
	installed := 0
	for _, resource := range built(g, "default") {
		if resource.GetKind() == "ValidatingAdmissionPolicy" && strings.HasPrefix(resource.GetName(), "cairn-manager") {
			installed++
			g.Expect(string(page)).To(ContainSubstring("`" + resource.GetName() + "`"))
		}
	}
	g.Expect(installed).To(Equal(9))
}

func TestTheManagerActsAsAnyAccountOnlyIfTheAdministratorSaysSo(t *testing.T) {
	for dir, want := range map[string]int{"default": 0, "testdata/with-impersonation": 1} {
		t.Run(dir, func(t *testing.T) {
			g := NewWithT(t)
			unlimited, bindings := 0, 0
			for _, resource := range built(g, dir) {
				switch resource.GetKind() {
				case "ClusterRole":
					var role rbacv1.ClusterRole
					g.Expect(yaml.Unmarshal([]byte(resource.MustYaml()), &role)).To(Succeed())
					for _, rule := range role.Rules {
						if slices.Contains(rule.Verbs, "impersonate") && len(rule.ResourceNames) == 0 {
							unlimited++
						}
					}
				case "ClusterRoleBinding":
					if resource.GetName() == "cairn-impersonator" {
						bindings++
					}
				}
			}
			g.Expect(unlimited).To(Equal(want))
			g.Expect(bindings).To(Equal(want))
		})
	}
}
