package doctor

import (
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// consents tells what owners of namespaces and Repositories have allowed.
func (j *judge) consents() Section {
	out := Section{Name: "Consents"}
	j.marks(&out)
	if j.read("serviceaccounts") {
		out.list(OK, "", j.PolicyAccounts, "namespaces with the account %s, with whose rights a PolicySync can apply",
			v1alpha1.PolicyServiceAccount)
	}
	if j.read("clusterroles", "clusterrolebindings", "roles", "rolebindings") {
		j.accounts(&out)
	}
	if j.read("repositories") {
		var some, all []string
		for repository, to := range j.RestoreTo {
			if slices.ContainsFunc(strings.Split(to, ","), func(n string) bool { return strings.TrimSpace(n) == "*" }) {
				all = append(all, repository)
			} else {
				some = append(some, repository+" → "+to)
			}
		}
		out.list(Warn, seeOthers, all, "each namespace can restore from these Repositories (%s: \"*\")",
			v1alpha1.AnnotationRestoreTo)
		out.list(OK, "", some, "Repositories from which other namespaces can restore")
	}
	if len(out.Findings) == 0 && len(j.Unread) == 0 {
		out.ok("no namespace has allowed anything to others")
	}
	return out
}

// marks tells which Namespaces have consented to privileged movers, and to Ledgers of other namespaces.
func (j *judge) marks(out *Section) {
	if !j.read("namespaces") {
		return
	}
	ledgers := map[string]bool{}
	for i := range j.Ledgers {
		ledgers[j.Ledgers[i].Namespace] = true
	}
	prefix := v1alpha1.RecordedByLabel("")
	var privileged, nobody []string
	recorded := map[string][]string{}
	for _, n := range j.Namespaces {
		if n.Annotations[v1alpha1.AnnotationPrivilegedMovers] == "true" {
			privileged = append(privileged, n.Name)
		}
		for key := range n.Labels {
			by, is := strings.CutPrefix(key, prefix)
			switch {
			case !is || !v1alpha1.ConsentsToRecords(n.Labels, by):
			case j.read("ledgers") && !ledgers[by]:
				nobody = append(nobody, n.Name+" → "+by)
			default:
				recorded[by] = append(recorded[by], n.Name)
			}
		}
	}
	out.list(Warn, seeOthers, privileged, "namespaces whose movers may run as root, mount the host and take the "+
		"cloud's "+
		"identity (%s)", v1alpha1.AnnotationPrivilegedMovers)
	for _, by := range slices.Sorted(maps.Keys(recorded)) {
		out.add(OK, "", recorded[by], "namespaces that let the Ledgers of %s record them", by)
	}
	out.list(Warn, seeOthers, nobody, "namespaces that let the Ledgers of a namespace without any record them: "+
		"whoever "+
		"makes one there records them")
}

// accounts tells what owners have given to the accounts that the manager may act as.
func (j *judge) accounts(out *Section) {
	var hooks, policies, everywhere []string
	for _, g := range j.grants() {
		for _, s := range g.subjects {
			if s.Kind != rbacv1.ServiceAccountKind ||
				s.Name != v1alpha1.HookServiceAccount && s.Name != v1alpha1.PolicyServiceAccount {
				continue
			}
			account := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
			if account.Namespace == "" {
				account.Namespace = g.namespace
			}
			line := account.String() + " (" + g.role.Kind + " " + g.role.Name + ")"
			switch {
			case g.namespace != account.Namespace:
				everywhere = append(everywhere, account.String()+" in "+where(&g)+" ("+g.role.Kind+" "+g.role.Name+")")
			case s.Name == v1alpha1.HookServiceAccount:
				hooks = append(hooks, line)
			default:
				policies = append(policies, line)
			}
		}
	}
	out.list(OK, "", policies, "what PolicySyncs may apply")
	out.list(OK, "", hooks, "what hooks may do in pods")
	out.list(Warn, seeGit, everywhere, "these accounts, which the manager acts as for whoever writes policy in their "+
		"namespace, have rights outside of it")
}
