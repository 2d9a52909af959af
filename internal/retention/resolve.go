package retention

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// PoliciesByRepository returns the RetentionPolicies, with namespace, that a BackupConfiguration names for its
// Repositories. A Repository without a policy has an empty reference. The usual defaults apply: a repository without a
// name has the configuration's name, and a repository without a backend has the only backend.
func PoliciesByRepository(c *v1alpha1.BackupConfiguration) map[string]v1alpha1.ObjectReference {
	refs := map[string]v1alpha1.ObjectReference{}
	for _, b := range c.Spec.Backends {
		if b.RetentionPolicy == nil || b.RetentionPolicy.Name == "" {
			continue
		}
		ref := *b.RetentionPolicy
		ref.Namespace = cmp.Or(ref.Namespace, c.Namespace)
		refs[b.Name] = ref
	}
	out := map[string]v1alpha1.ObjectReference{}
	for repository, backend := range backendsByRepository(c) {
		out[repository] = refs[backend]
	}
	return out
}

// backendsByRepository returns the names of the backends of a BackupConfiguration's Repositories.
func backendsByRepository(c *v1alpha1.BackupConfiguration) map[string]string {
	backends := map[string]string{}
	for _, session := range c.Spec.Sessions {
		if len(session.Repositories) == 0 {
			backends[c.Name] = cmp.Or(backends[c.Name], "")
		}
		for _, info := range session.Repositories {
			name := cmp.Or(info.Name, c.Name)
			backends[name] = cmp.Or(backends[name], info.Backend)
		}
	}
	for repository, backend := range backends {
		if backend == "" && len(c.Spec.Backends) == 1 {
			backends[repository] = c.Spec.Backends[0].Name
		}
	}
	return backends
}

// unknownBackend reports whether a BackupConfiguration has backends, but does not say which one a Repository has: what
// keeps its Snapshots can be the RetentionPolicy of each of them, so the default must not decide.
func unknownBackend(c *v1alpha1.BackupConfiguration, repository string) bool {
	backend := backendsByRepository(c)[repository]
	return len(c.Spec.Backends) > 0 && !slices.ContainsFunc(c.Spec.Backends,
		func(b v1alpha1.BackendReference) bool { return b.Name == backend })
}

// Resolved is the policy of a Repository according to the BackupConfigurations of its namespace.
type Resolved struct {
	// Ref names the policy. Nil means that there is none and everything is kept.
	Ref *v1alpha1.ObjectReference
	// Default says that no BackupConfiguration names the policy: it is the default.
	Default bool
	// Unused says that no BackupConfiguration uses the Repository: no policy holds for it, not even the default.
	Unused bool
	// Child is the last by name of the BackupConfigurations that a batch made.
	Child *v1alpha1.BackupConfiguration
	// Conflict says which BackupConfigurations name different policies, or which one does not say what backend the
	// Repository has. Nothing is removed then.
	Conflict string
}

// Resolve finds the policy of a Repository. fallback is the default policy for BackupConfigurations that name none;
// nil means that there is no default. It is also a conflict if some name a policy that is not the default of the
// others. The order of the configurations changes nothing.
func Resolve(repository string, configurations []v1alpha1.BackupConfiguration,
	fallback *v1alpha1.ObjectReference,
) Resolved {
	out := Resolved{Default: true}
	refs := map[v1alpha1.ObjectReference]string{} // what the first configuration by name says about each
	var unknown []string                          // configurations that do not say which backend the Repository has
	for i := range configurations {
		c := &configurations[i]
		if !v1alpha1.InForce(c) {
			continue
		}
		ref, uses := PoliciesByRepository(c)[repository]
		if !uses {
			continue
		}
		if unknownBackend(c, repository) {
			unknown = append(unknown, c.Name)
		}
		names := " names " + refName(ref)
		switch {
		case ref.Name != "":
			out.Default = false
		case fallback != nil:
			ref = *fallback
			names = " has the default " + refName(ref)
		}
		if names = c.Name + names; refs[ref] == "" || names < refs[ref] {
			refs[ref] = names
		}
		if c.Labels[v1alpha1.LabelBatch] != "" && (out.Child == nil || c.Name > out.Child.Name) {
			out.Child = c
		}
	}
	out.Unused = len(refs) == 0
	if len(unknown) > 0 {
		out.Conflict = "BackupConfiguration " + slices.Min(unknown) +
			" does not say which of its backends this Repository has"
		return out
	}
	if len(refs) > 1 {
		out.Conflict = "BackupConfigurations name different RetentionPolicies: " +
			strings.Join(slices.Sorted(maps.Values(refs)), ", ")
		return out
	}
	for ref := range refs {
		if ref.Name != "" {
			out.Ref = &ref
		}
	}
	out.Default = out.Default && out.Ref != nil
	return out
}

func refName(ref v1alpha1.ObjectReference) string {
	if ref.Name == "" {
		return "none"
	}
	return ref.Namespace + "/" + ref.Name
}

// SiblingRepositories returns the other Repositories of these BackupConfigurations, the children of a batch, that have
// the same policy. Their restore points are kept or dropped as a whole. fallback is as for Resolve.
func SiblingRepositories(configurations []v1alpha1.BackupConfiguration, repository string, ref v1alpha1.ObjectReference,
	fallback *v1alpha1.ObjectReference,
) []string {
	var out []string
	for i := range configurations {
		for name, other := range PoliciesByRepository(&configurations[i]) {
			if other.Name == "" && fallback != nil {
				other = *fallback
			}
			if other == ref && name != repository && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}
