package check

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/variables"
)

func (c *checker) configuration(o *Object) {
	var configuration v1alpha1.BackupConfiguration
	if !c.read(o, v1alpha1.BackupConfigurationKind, &configuration) {
		return
	}
	configuration.Namespace = c.referenceOf(o).Namespace
	c.addAll(o, ConfigurationMistakes(&configuration))
	spec := &configuration.Spec
	if spec.Target == nil {
		c.backends(o, spec.Backends, nil)
		return
	}
	uses := backendUses{}
	for i := range spec.Sessions {
		uses.add(spec.Backends, spec.Sessions[i].Repositories,
			c.driverOf(AddonOrInferred(spec.Sessions[i].Addon, *spec.Target)))
	}
	c.backends(o, spec.Backends, uses)
	c.target(o, "spec.target", *spec.Target)
	for i := range spec.Sessions {
		field := fmt.Sprintf("spec.sessions[%d]", i)
		if spec.Sessions[i].Addon == nil && catalog.RevealsDatabaseType(*spec.Target) {
			c.noAddon(o, field+".addon", *spec.Target)
		}
		info := AddonOrInferred(spec.Sessions[i].Addon, *spec.Target)
		c.addon(o, field+".addon", info, false, spec.Target,
			catalog.PlaceholdersOfBackup(spec.Target, len(spec.Sessions[i].Repositories)))
		c.snapshotter(o, field, info, spec.Sessions[i].Executor)
		// Otherwise ConfigurationMistakes reports it.
		if len(CopyMistakes(field, *spec.Target, &spec.Sessions[i], nil)) == 0 {
			c.copies(o, field, *spec.Target, spec.Sessions[i].Executor, spec.Sessions[i].CopyMethod, info)
		}
		c.repositoryInfos(o, infosOf{
			field: field, fallback: configuration.Name, target: *spec.Target,
			backends: spec.Backends, driver: c.driverOf(info),
		}, spec.Sessions[i].Repositories)
		c.hooks(o, policy.BackupHooks(field, spec.Sessions[i].Hooks),
			policy.BackupHookValues(configuration.Namespace, v1alpha1.BackupConfigurationKind, configuration.Name,
				spec.Sessions[i].Name, spec.Target))
	}
}

func (c *checker) restore(o *Object) {
	var restore v1alpha1.RestoreSession
	if !c.read(o, v1alpha1.RestoreSessionKind, &restore) {
		return
	}
	namespace := c.referenceOf(o).Namespace
	if target := restore.Spec.Target; target != nil && !OwnNamespace(*target, namespace) {
		c.add(SeverityError, o, policy.Mistake{
			Field: "spec.target.namespace", Reason: v1alpha1.ReasonTargetNotFound,
			Message: OtherNamespaceMessage(*target),
		})
	} else if target != nil {
		c.target(o, "spec.target", *target)
	}
	if restore.Spec.Addon != nil {
		c.addon(o, "spec.addon", restore.Spec.Addon, true, restore.Spec.Target,
			catalog.PlaceholdersOfRestore(restore.Spec.Target))
	} else if restore.Spec.Target != nil {
		c.noAddon(o, "spec.addon", *restore.Spec.Target)
	}
	if restore.Spec.Executor == v1alpha1.ExecutorSidecar {
		for _, mistake := range catalog.SidecarRestoreMistakes(&restore.Spec) {
			c.add(SeverityError, o, mistake)
		}
	}
	c.addAll(o, catalog.DatabaseRestoreMistakes("spec", &restore.Spec))
	c.hooks(o, policy.RestoreHooks(restore.Spec.Hooks), policy.RestoreHookValues(&restore, namespace))
	if restore.Spec.DataSource != nil {
		c.dataSource(o, *restore.Spec.DataSource)
	}
}

// OwnNamespace reports whether the target of a restore is in the RestoreSession's namespace.
func OwnNamespace(target v1alpha1.TypedObjectReference, namespace string) bool {
	return target.Namespace == "" || target.Namespace == namespace
}

// OtherNamespaceMessage returns the message about a target for which OwnNamespace reports false.
func OtherNamespaceMessage(target v1alpha1.TypedObjectReference) string {
	return fmt.Sprintf("a RestoreSession restores only into its own namespace: leave the namespace %q out, or create "+
		"a RestoreSession there", target.Namespace)
}

// dataSource looks for the Repository, which a policy of the set can create, and for the Snapshot, which no set has:
// Snapshots record what happened.
func (c *checker) dataSource(o *Object, source v1alpha1.RestoreDataSource) {
	namespace := cmp.Or(source.Namespace, c.referenceOf(o).Namespace)
	if source.Repository != "" {
		repository := Reference{GroupKind: ours(v1alpha1.RepositoryKind), Namespace: namespace, Name: source.Repository}
		if _, made := c.repositories[repository]; !made && !c.inferred[repository] {
			c.find(o, "spec.dataSource.repository", v1alpha1.ReasonRepositoryNotFound, repository)
		}
	}
	if source.Snapshot == v1alpha1.LatestSnapshot || source.PITR != nil {
		return
	}
	snapshot := c.find(o, "spec.dataSource.snapshot", v1alpha1.ReasonSnapshotNotFound,
		Reference{GroupKind: ours(v1alpha1.SnapshotKind), Namespace: namespace, Name: source.Snapshot})
	if snapshot == nil || source.Repository == "" {
		return
	}
	if actual, _, _ := unstructured.NestedString(snapshot.Object, "spec", "repository"); actual != source.Repository {
		c.add(SeverityError, o, policy.Mistake{
			Field: "spec.dataSource.repository", Reason: v1alpha1.ReasonSnapshotNotFound,
			Message: fmt.Sprintf("the Snapshot %q is in the Repository %q, not in %q", source.Snapshot, actual,
				source.Repository),
		})
	}
}

// backends checks that the storages exist and that o's namespace is allowed to use them. It ignores the storage of a
// backend that only VolumeSnapshots use.
func (c *checker) backends(o *Object, backends []v1alpha1.BackendReference, uses backendUses) {
	for i := range backends {
		if uses.onlySnapshots(backends[i].Name) {
			c.retentionReference(o, fmt.Sprintf("spec.backends[%d].retentionPolicy", i), backends[i].RetentionPolicy)
			continue
		}
		if backends[i].StorageRef != nil {
			c.storageReference(o, fmt.Sprintf("spec.backends[%d].storageRef", i), *backends[i].StorageRef)
		} else {
			c.defaultStorage(o, fmt.Sprintf("spec.backends[%d].storageRef", i))
		}
		c.retentionReference(o, fmt.Sprintf("spec.backends[%d].retentionPolicy", i), backends[i].RetentionPolicy)
	}
}

// AddonOrInferred returns the Addon that policy names, else the Addon for the target's kind; nil if the kind does not
// decide.
func AddonOrInferred(info *v1alpha1.AddonInfo, target v1alpha1.TypedObjectReference) *v1alpha1.AddonInfo {
	if info != nil || catalog.InferredAddon(target) == "" {
		return info
	}
	return &v1alpha1.AddonInfo{
		Name: catalog.InferredAddon(target), Tasks: []v1alpha1.TaskReference{{Name: catalog.BackupTask}},
	}
}

// noAddon reports a target without an Addon whose kind does not decide the Addon: a mistake, or a warning if a cluster
// can tell.
func (c *checker) noAddon(o *Object, field string, target v1alpha1.TypedObjectReference) {
	switch {
	case catalog.InferredAddon(target) != "":
	case catalog.RevealsDatabaseType(target):
		c.add(unknown, o, policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonAddonNotFound,
			Message: catalog.UnknownDatabaseType(target),
		})
	default:
		c.add(SeverityError, o,
			policy.Mistake{Field: field, Reason: v1alpha1.ReasonAddonNotFound, Message: catalog.NoAddonMessage(target)})
	}
}

func (c *checker) target(o *Object, field string, target v1alpha1.TypedObjectReference) {
	namespace := c.referenceOf(o).Namespace
	if target.Namespace != "" && target.Namespace != namespace {
		return // ConfigurationMistakes and policy.BatchMistakes report it.
	}
	c.find(o, field+".name", v1alpha1.ReasonTargetNotFound, Reference{
		GroupKind: schema.GroupKind{Group: target.APIGroup, Kind: target.Kind}, Namespace: namespace, Name: target.Name,
	})
}

// copies reports a task that cannot read the copies that a session asks for.
func (c *checker) copies(
	o *Object, field string, target v1alpha1.TypedObjectReference, executor v1alpha1.Executor,
	method v1alpha1.CopyMethod, info *v1alpha1.AddonInfo,
) {
	addon, _ := c.taskOf(info)
	session := &v1alpha1.BackupConfigurationSession{
		Addon: info, Executor: executor,
		CopySettings: v1alpha1.CopySettings{CopyMethod: method},
	}
	c.addAll(o, CopyMistakes(field, target, session, addon))
}

// addon checks an Addon, the named tasks, and their Functions with the variables in builtin.
func (c *checker) addon(
	o *Object, field string, info *v1alpha1.AddonInfo, restore bool, target *v1alpha1.TypedObjectReference,
	builtin variables.Builtin,
) {
	if info == nil {
		return
	}
	var addon v1alpha1.Addon
	if !c.findInto(o, field+".name", v1alpha1.ReasonAddonNotFound, Reference{
		GroupKind: ours(v1alpha1.AddonKind),
		Name:      info.Name,
	}, &addon) {
		return
	}
	functions := map[string]*v1alpha1.Function{}
	for _, name := range catalog.TaskFunctions(&addon, info, restore) {
		var f v1alpha1.Function
		if c.findInto(o, field+".tasks", v1alpha1.ReasonFunctionNotFound,
			Reference{GroupKind: ours(v1alpha1.FunctionKind), Name: name}, &f) {
			functions[name] = &f
		}
	}
	c.addAll(o, catalog.MistakesOfUse(field, &addon, info, restore, target, builtin,
		func(name string) *v1alpha1.Function { return functions[name] }))
}

// findInto calls find and converts the object to into. It reports whether into holds the object.
func (c *checker) findInto(o *Object, field, reason string, reference Reference, into runtime.Object) bool {
	found := c.find(o, field, reason, reference)
	if found == nil {
		return false
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), into); err != nil {
		c.add(SeverityError, o,
			policy.Mistake{Field: field, Reason: reason, Message: fmt.Sprintf("read %s: %v", reference,
				err)})
		return false
	}
	return true
}
