package doctor

import (
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
)

// defaults tells which default BackupStorage and RetentionPolicy each namespace gets, and from where.
func (j *judge) defaults() Section {
	out := Section{Name: "Defaults"}
	if !j.read("namespaces") {
		return out
	}
	if j.read("backupstorages") {
		j.defaultsOf(&out, v1alpha1.BackupStorageKind, complete.DefaultStorages(j.Storages),
			"its policy must name a storage")
	}
	if j.read("retentionpolicies") {
		j.defaultsOf(&out, v1alpha1.RetentionPolicyKind, complete.DefaultPolicies(j.RetentionPolicies),
			"everything is kept where policy names none")
	}
	return out
}

func (j *judge) defaultsOf(out *Section, kind string, candidates []complete.DefaultCandidate, without string) {
	got := map[string][]string{}
	several := map[string][]string{}
	var lack, idle []string
	for _, n := range j.Namespaces {
		chosen := complete.ChooseDefault(candidates, j.flags.Administrators, n.Name, n.Labels)
		switch {
		case chosen != nil:
			got[chosen.Namespace+"/"+chosen.Name] = append(got[chosen.Namespace+"/"+chosen.Name], n.Name)
		case j.Policies[n.Name] > 0:
			lack = append(lack, n.Name)
		default:
			idle = append(idle, n.Name)
		}
		if all := j.offered(candidates, n); len(all) > 1 {
			key := strings.Join(all, ", ")
			several[key] = append(several[key], n.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		namespace, _, _ := strings.Cut(name, "/")
		from := "of the namespace itself"
		if j.flags.Administrators.Has(namespace) {
			from = "of the administrators"
		}
		out.add(OK, "", got[name], "default %s %s, %s, for", kind, name, from)
	}
	out.list(Warn, seeDefaults, lack, "namespaces with policy and no default %s: %s", kind, without)
	out.list(OK, "", idle, "namespaces without policy and without a default %s", kind)
	for _, all := range slices.Sorted(maps.Keys(several)) {
		out.add(Warn, seeDefaults, several[all], "the administrators have several default %s, %s, "+
			"for", plural[kind], all)
	}
	j.ignored(out, kind, candidates)
}

// plural are the kinds that can be defaults.
var plural = map[string]string{
	v1alpha1.BackupStorageKind: "BackupStorages", v1alpha1.RetentionPolicyKind: "RetentionPolicies",
}

// offered returns the administrators' defaults that a namespace can use beside its own.
func (j *judge) offered(candidates []complete.DefaultCandidate, n Namespace) (all []string) {
	for _, c := range candidates {
		if v1alpha1.InForce(c) && c.GetNamespace() != n.Name && j.flags.Administrators.Has(c.GetNamespace()) &&
			policy.Allowed(c.Usage, c.GetNamespace(), n.Name, n.Labels) {
			all = append(all, c.GetNamespace()+"/"+c.GetName())
		}
	}
	slices.Sort(all)
	return all
}

// ignored names the objects that are no default where their spec lets one expect it.
func (j *judge) ignored(out *Section, kind string, candidates []complete.DefaultCandidate) {
	for _, c := range candidates {
		if !v1alpha1.InForce(c) {
			continue
		}
		name := named(kind, c.GetNamespace(), c.GetName())
		if elder := complete.ElderDefault(candidates, c.Object); elder != nil {
			out.warn(seeDefaults, "%s: %s", name, complete.SecondDefaultMessage(kind, elder.GetName()))
		} else if c.OffersItself() && !j.flags.Administrators.Has(c.GetNamespace()) {
			out.warn(seeDefaults, "%s: %s", name, complete.OnlyOwnDefaultMessage(c.GetNamespace()))
		}
	}
}
