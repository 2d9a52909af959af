package doctor

import (
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// power is something with which somebody becomes the manager, or gets around what limits others. One of the rules is
// enough.
type power struct {
	what  string
	rules []rbacv1.PolicyRule
	// everywhere powers count only cluster-wide. The others count in the manager's namespace, too.
	everywhere bool
}

// powers returns the powers over the manager of this installation.
func (j *judge) powers() []power {
	account := j.Account()
	return []power{
		{
			what:  "act as the manager",
			rules: atoms("", []string{"serviceaccounts"}, []string{"impersonate"}, account.Name),
		},
		{
			what: "act as the manager", everywhere: true,
			rules: atoms("", []string{"users"}, []string{"impersonate"},
				"system:serviceaccount:"+account.Namespace+":"+account.Name),
		},
		{
			what:  "make tokens of the manager",
			rules: atoms("", []string{"serviceaccounts/token"}, []string{"create"}, account.Name),
		},
		{
			what: "start or enter pods beside the manager",
			rules: slices.Concat(
				atoms("", []string{"pods", "pods/exec", "replicationcontrollers"}, []string{"create"}, ""),
				atoms("", []string{"pods/ephemeralcontainers", "replicationcontrollers"},
					[]string{"update", "patch"}, ""),
				atoms("apps", []string{"deployments", "daemonsets", "statefulsets", "replicasets"},
					[]string{"create", "update", "patch"}, ""),
				atoms("batch", []string{"jobs", "cronjobs"}, []string{"create", "update", "patch"}, "")),
		},
		{
			what: "change its admission policies", everywhere: true,
			rules: atoms("admissionregistration.k8s.io",
				[]string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"},
				[]string{"update", "patch", "delete"}, ""),
		},
		{
			what: "give any right to anybody", everywhere: true,
			rules: slices.Concat(
				atoms("rbac.authorization.k8s.io", []string{"clusterroles"}, []string{"escalate", "bind"}, ""),
				atoms("", []string{"groups"}, []string{"impersonate"}, "")),
		},
	}
}

// atoms returns a rule for each verb and resource.
func atoms(group string, resources, verbs []string, name string) (out []rbacv1.PolicyRule) {
	for _, resource := range resources {
		for _, verb := range verbs {
			r := rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}
			if name != "" {
				r.ResourceNames = []string{name}
			}
			out = append(out, r)
		}
	}
	return out
}

// everything is what an administrator of the cluster may do.
var everything = []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}

// others tells who else has power over the manager, and over the backups of all namespaces.
func (j *judge) others() Section {
	out := Section{Name: "Who else"}
	if !j.read("clusterroles", "clusterrolebindings", "roles", "rolebindings") {
		return out
	}
	var administrators []string
	can := map[string][]string{}
	editors := map[string][]string{}
	for _, g := range j.grants() {
		who := j.strangers(&g)
		if len(who) == 0 {
			continue
		}
		if g.namespace == "" && covers(g.rules, everything) {
			administrators = append(administrators, who...)
			continue
		}
		for _, p := range j.powersOf(&g) {
			for _, subject := range who {
				can[subject+" ("+g.String()+")"] = append(can[subject+" ("+g.String()+")"], p)
			}
		}
		j.edits(&g, who, editors)
	}
	out.list(OK, "", administrators, "administrators of the cluster, who can do everything")
	for _, who := range slices.Sorted(maps.Keys(can)) {
		slices.Sort(can[who])
		out.warn(seeWho, "%s can %s", who, strings.Join(slices.Compact(can[who]), ", and "))
	}
	for _, namespace := range slices.Sorted(maps.Keys(editors)) {
		if namespace == "" {
			out.add(Warn, seeWho, editors[namespace], "can edit policy in all namespaces, those of the administrators "+
				"included")
			continue
		}
		out.add(Warn, seeOthers, editors[namespace], "can edit policy in %s, a namespace of the administrators, and "+
			"so "+
			"the backups of all namespaces", namespace)
	}
	if len(can)+len(editors) == 0 {
		out.ok("nobody else has power over the manager, or edits policy in a namespace of the administrators")
	}
	return out
}

// strangers returns the subjects of a binding that are neither the manager nor a part of Kubernetes.
func (j *judge) strangers(g *grant) (out []string) {
	for _, s := range g.subjects {
		own := s.Kind != rbacv1.GroupKind && isAccount(s, g.namespace, j.Account())
		if s.Name == "system:masters" || !own && !isSystem(g, s) {
			out = append(out, subjectName(s, g.namespace))
		}
	}
	return out
}

// powersOf returns what a binding lets do with the manager.
func (j *judge) powersOf(g *grant) (out []string) {
	if g.namespace != "" && g.namespace != j.Manager.Namespace {
		return nil
	}
	for _, p := range j.powers() {
		if p.everywhere && g.namespace != "" {
			continue
		}
		if slices.ContainsFunc(p.rules, func(r rbacv1.PolicyRule) bool {
			return covers(g.rules, []rbacv1.PolicyRule{r})
		}) {
			out = append(out, p.what)
		}
	}
	return out
}

// edits adds the subjects of a binding to those who edit policy in a namespace of the administrators. "" means all.
func (j *judge) edits(g *grant, who []string, editors map[string][]string) {
	if g.namespace != "" && !j.flags.Administrators.Has(g.namespace) {
		return
	}
	for _, resource := range []string{"backupstorages", "retentionpolicies", "ledgers", "policysyncs"} {
		for _, verb := range []string{"create", "update", "patch"} {
			if covers(g.rules, atoms(v1alpha1.Group, []string{resource}, []string{verb}, "")) {
				editors[g.namespace] = append(editors[g.namespace], who...)
				return
			}
		}
	}
}
