package doctor

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// impersonator is the ClusterRole of the component config/impersonation.
const impersonator = "cairn-impersonator"

// ofEverybody is what Kubernetes lets each account do: ask about itself, and about the API.
var ofEverybody = []rbacv1.PolicyRule{
	{
		Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"},
		Resources: []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
	},
	{
		Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"},
		Resources: []string{"selfsubjectreviews"},
	},
	{Verbs: []string{"get"}, NonResourceURLs: []string{
		"/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/readyz", "/openapi", "/openapi/*", "/version",
		"/version/", "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks",
		"/openid/v1/jwks/",
	}},
}

// rights compares what the account of the manager may do with what docs/reference/rights.md has.
func (j *judge) rights() Section {
	out := Section{Name: "Rights of the manager"}
	if !j.read("clusterroles", "clusterrolebindings", "roles", "rolebindings") {
		return out
	}
	base := slices.Concat(ofEverybody, shipped().clusterRoles[managerName],
		shipped().clusterRoles["cairn-metrics-review"])
	var has []rbacv1.PolicyRule
	lent := map[string][]string{}
	for _, g := range j.grants() {
		if !slices.ContainsFunc(g.subjects, func(s rbacv1.Subject) bool {
			return isAccount(s, g.namespace, j.Account())
		}) {
			continue
		}
		if g.namespace == "" {
			has = append(has, g.rules...)
		}
		allowed := base
		if g.namespace == j.Manager.Namespace {
			allowed = slices.Concat(base, shipped().roles["cairn-leader-election"])
		}
		_, more := validation.Covers(allowed, g.rules)
		switch {
		case !g.known:
			out.warn(seeRights, "%s: the role does not exist, so whoever makes it gives its rights to the manager", &g)
		case len(more) == 0:
		case j.lends(&g, more):
			lent[g.role.Name] = append(lent[g.role.Name], where(&g))
		case g.namespace == "" && covers(shipped().clusterRoles[impersonator], more):
			out.warn(seeRights, "the manager can act as each account of the cluster (config/impersonation): %s", &g)
		default:
			out.fail(seeRights, "the manager has rights beyond docs/reference/rights.md: %s: %s", &g, summary(more))
		}
	}
	if _, lacks := validation.Covers(has, base[len(ofEverybody):]); len(lacks) > 0 {
		out.fail("", "the manager lacks rights of docs/reference/rights.md: %s: apply config/rbac", summary(lacks))
	}
	for _, role := range lenders {
		out.list(OK, "", lent[j.installed(role)], "%s lets the manager %s", role, lenderDoes[role])
	}
	if !slices.ContainsFunc(out.Findings, func(f Finding) bool { return f.Level != OK }) {
		out.ok("the manager has the rights of docs/reference/rights.md, and no others")
	}
	return out
}

// lenders are the shipped ClusterRoles that owners of namespaces bind to the manager, and what they allow.
var (
	lenders    = []string{v1alpha1.SidecarInjectorClusterRole, v1alpha1.ScalerClusterRole}
	lenderDoes = map[string]string{
		v1alpha1.SidecarInjectorClusterRole: "change workloads, for sidecars, in",
		v1alpha1.ScalerClusterRole:          "scale workloads in",
	}
)

// lends reports whether a binding lends the manager a shipped ClusterRole, and no more than is shipped.
func (j *judge) lends(g *grant, more []rbacv1.PolicyRule) bool {
	return g.role.Kind == "ClusterRole" && slices.ContainsFunc(lenders, func(role string) bool {
		return g.role.Name == j.installed(role) && covers(shipped().clusterRoles[role], more)
	})
}

// where returns the namespace of a binding.
func where(g *grant) string {
	if g.namespace == "" {
		return "all namespaces"
	}
	return g.namespace
}

func covers(rules, all []rbacv1.PolicyRule) bool {
	ok, _ := validation.Covers(rules, all)
	return ok
}

// summarised is how many rules a line shows.
const summarised = 4

// summary shows rules of one verb each, as Covers returns them.
func summary(rules []rbacv1.PolicyRule) string {
	var order []string
	verbs := map[string][]string{}
	for _, r := range rules {
		what := strings.Join(append(slices.Clone(r.Resources), r.NonResourceURLs...), ",")
		if group := strings.Join(r.APIGroups, ","); group != "" {
			what += "." + group
		}
		if len(r.ResourceNames) > 0 {
			what += " " + strings.Join(r.ResourceNames, ",")
		}
		if verbs[what] == nil {
			order = append(order, what)
		}
		verbs[what] = append(verbs[what], r.Verbs...)
	}
	var out []string
	for _, what := range order[:min(summarised, len(order))] {
		out = append(out, strings.Join(verbs[what], ",")+" "+what)
	}
	if more := len(order) - summarised; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, "; ")
}
