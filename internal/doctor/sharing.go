package doctor

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// sharing tells which storages and hooks other namespaces can use, and who does.
func (j *judge) sharing() Section {
	out := Section{Name: "Shared with other namespaces"}
	for i := range j.Storages {
		j.sharedStorage(&out, &j.Storages[i])
	}
	var hooks []string
	for i := range j.HookTemplates {
		h := &j.HookTemplates[i]
		if to := openTo(h.Spec.UsagePolicy); to != "" {
			hooks = append(hooks, h.Namespace+"/"+h.Name+" ("+to+")")
		}
	}
	out.list(OK, "", hooks, "HookTemplates that other namespaces can use")
	if len(out.Findings) == 0 && j.read("backupstorages", "hooktemplates", "repositories", "namespaces") {
		out.ok("no storage and no hook is open to other namespaces")
	}
	return out
}

// openTo says in words which namespaces a usagePolicy allows beside the object's own; "" if none.
func openTo(usage *v1alpha1.UsagePolicy) string {
	if usage == nil || usage.AllowedNamespaces.From == nil {
		return ""
	}
	switch *usage.AllowedNamespaces.From {
	case v1alpha1.NamespacesFromAll:
		return "all namespaces"
	case v1alpha1.NamespacesFromSelector:
		return "the namespaces of its selector"
	}
	return ""
}

// sharedStorage tells who may use a storage, who does, and where in it.
func (j *judge) sharedStorage(out *Section, s *v1alpha1.BackupStorage) {
	name := s.Namespace + "/" + s.Name
	usage := s.Spec.UsagePolicy.Namespaces()
	var allowed, strange []string
	for use, n := range j.Uses {
		if use.Storage != name || use.Namespace == s.Namespace {
			continue
		}
		user := fmt.Sprintf("%s (%d)", use.Namespace, n)
		if policy.Allowed(usage, s.Namespace, use.Namespace, j.namespaces[use.Namespace].Labels) {
			allowed = append(allowed, user)
		} else {
			strange = append(strange, user)
		}
	}
	to := openTo(usage)
	if s.Spec.Storage.Provider == v1alpha1.ProviderLocal {
		to = "" // a volume is for its own namespace alone
	}
	switch {
	case to == "" || !j.read("repositories"):
	case len(allowed) == 0:
		out.ok("%s is open to %s, and no other namespace has a Repository in it",
			named(v1alpha1.BackupStorageKind, s.Namespace, s.Name), to)
	default:
		out.add(OK, "", allowed, "%s is open to %s; other namespaces with Repositories in it",
			named(v1alpha1.BackupStorageKind, s.Namespace, s.Name), to)
	}
	if to != "" && s.Spec.UsagePolicy.DirectoryPrefix == "" {
		out.warn(seeLeft, "%s binds nobody to a directory: set usagePolicy.directoryPrefix, such as /{namespace}",
			named(v1alpha1.BackupStorageKind, s.Namespace, s.Name))
	}
	if j.read("namespaces") {
		out.list(Warn, seeDefaults, strange, "namespaces with Repositories in %s, which it does not allow",
			named(v1alpha1.BackupStorageKind, s.Namespace, s.Name))
	}
}
