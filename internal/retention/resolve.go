package retention

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Refs are the RetentionPolicies, with namespace, that a BackupConfiguration names for its Repositories; an empty one where
// it names none. What is left out means what it means everywhere: a repository has the configuration's own name, and the only
// backend.
func Refs(c *v1alpha1.BackupConfiguration) map[string]v1alpha1.ObjectReference {
	refs := map[string]v1alpha1.ObjectReference{}
	for _, b := range c.Spec.Backends {
		if b.RetentionPolicy == nil || b.RetentionPolicy.Name == "" {
			continue
		}
		ref := *b.RetentionPolicy
		ref.Namespace = cmp.Or(ref.Namespace, c.Namespace)
		refs[b.Name] = ref
	}
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
	out := map[string]v1alpha1.ObjectReference{}
	for repository, backend := range backends {
		if backend == "" && len(c.Spec.Backends) == 1 {
			backend = c.Spec.Backends[0].Name
		}
		out[repository] = refs[backend]
	}
	return out
}

// Resolved is the policy of a Repository as the BackupConfigurations of its namespace have it.
type Resolved struct {
	// Ref names the policy; nil: there is none, and everything is kept.
	Ref *v1alpha1.ObjectReference
	// Default says that nobody names it: it is the default.
	Default bool
	// Child is one of the BackupConfigurations, where a batch made it.
	Child *v1alpha1.BackupConfiguration
	// Conflict says who names what, where they name different ones; nothing is removed then.
	Conflict string
}

// Resolve finds the one policy of a Repository; fallback is the default one for those that name none, nil is none. One that
// some name and that is not the default of the others is a conflict too.
func Resolve(repository string, configurations []v1alpha1.BackupConfiguration, fallback *v1alpha1.ObjectReference) Resolved {
	out := Resolved{Default: true}
	refs := map[v1alpha1.ObjectReference]string{}
	for i := range configurations {
		c := &configurations[i]
		if v1alpha1.HasRecordAnnotation(c.Annotations) || !c.DeletionTimestamp.IsZero() {
			continue
		}
		ref, uses := Refs(c)[repository]
		if !uses {
			continue
		}
		names := " names " + refName(ref)
		switch {
		case ref.Name != "":
			out.Default = false
		case fallback != nil:
			ref = *fallback
			names = " has the default " + refName(ref)
		}
		refs[ref] = c.Name + names
		if c.Labels[v1alpha1.LabelBatch] != "" {
			out.Child = c
		}
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

// Together are the other Repositories of these BackupConfigurations, a batch's children, under the same policy: restore
// points are kept or dropped whole among them. Fallback as Resolve has it.
func Together(configurations []v1alpha1.BackupConfiguration, repository string, ref v1alpha1.ObjectReference, fallback *v1alpha1.ObjectReference) []string {
	var out []string
	for i := range configurations {
		for name, other := range Refs(&configurations[i]) {
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
