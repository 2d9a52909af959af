package policy

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func (c *checker) configuration(o *Object) {
	var configuration v1alpha1.BackupConfiguration
	if !c.read(o, v1alpha1.BackupConfigurationKind, &configuration) {
		return
	}
	configuration.Namespace = c.referenceOf(o).Namespace
	c.addAll(o, ConfigurationMistakes(&configuration))
	spec := &configuration.Spec
	c.backends(o, spec.Backends)
	if spec.Target != nil {
		c.target(o, "spec.target", *spec.Target)
	}
	for i := range spec.Sessions {
		field := fmt.Sprintf("spec.sessions[%d]", i)
		c.addon(o, field+".addon", spec.Sessions[i].Addon, false)
		c.repositoryInfos(o, field, spec.Target, spec.Backends, spec.Sessions[i].Repositories)
	}
}

func (c *checker) batch(o *Object) {
	var batch v1alpha1.BackupBatch
	if !c.read(o, v1alpha1.BackupBatchKind, &batch) {
		return
	}
	batch.Namespace = c.referenceOf(o).Namespace
	c.addAll(o, BatchMistakes(&batch))
	spec := &batch.Spec
	c.backends(o, spec.Backends)
	targets := map[string]*v1alpha1.TypedObjectReference{}
	for i := range spec.Targets {
		c.target(o, fmt.Sprintf("spec.targets[%d].appRef", i), spec.Targets[i].AppRef)
		targets[spec.Targets[i].Name] = &spec.Targets[i].AppRef
	}
	for i := range spec.Sessions {
		for j := range spec.Sessions[i].Targets {
			target := &spec.Sessions[i].Targets[j]
			field := fmt.Sprintf("spec.sessions[%d].targets[%d]", i, j)
			c.addon(o, field+".addon", target.Addon, false)
			c.repositoryInfos(o, field, targets[target.Name], spec.Backends, target.Repositories)
		}
	}
}

func (c *checker) restore(o *Object) {
	var restore v1alpha1.RestoreSession
	if !c.read(o, v1alpha1.RestoreSessionKind, &restore) {
		return
	}
	if restore.Spec.Target != nil {
		c.target(o, "spec.target", *restore.Spec.Target)
	}
	if restore.Spec.Addon != nil {
		c.addon(o, "spec.addon", restore.Spec.Addon, true)
	}
	if restore.Spec.DataSource != nil {
		c.dataSource(o, *restore.Spec.DataSource)
	}
}

// dataSource looks for the Repository, which a policy of the set may be about to make, and for the Snapshot, which no set
// has: Snapshots say what happened.
func (c *checker) dataSource(o *Object, source v1alpha1.RestoreDataSource) {
	namespace := c.referenceOf(o).Namespace
	if source.Repository != "" {
		repository := Reference{GroupKind: ours(v1alpha1.RepositoryKind), Namespace: namespace, Name: source.Repository}
		if _, made := c.repositories[repository]; !made {
			c.find(o, "spec.dataSource.repository", v1alpha1.ReasonRepositoryNotFound, repository)
		}
	}
	if source.Snapshot == v1alpha1.LatestSnapshot {
		return
	}
	snapshot := c.find(o, "spec.dataSource.snapshot", v1alpha1.ReasonSnapshotNotFound,
		Reference{GroupKind: ours(v1alpha1.SnapshotKind), Namespace: namespace, Name: source.Snapshot})
	if snapshot == nil || source.Repository == "" {
		return
	}
	if actual, _, _ := unstructured.NestedString(snapshot.Object, "spec", "repository"); actual != source.Repository {
		c.add(SeverityError, o, Mistake{Field: "spec.dataSource.repository", Reason: v1alpha1.ReasonSnapshotNotFound,
			Message: fmt.Sprintf("the Snapshot %q is in the Repository %q, not in %q", source.Snapshot, actual, source.Repository)})
	}
}

// backends looks for the storages and asks whether they may be used from o's namespace.
func (c *checker) backends(o *Object, backends []v1alpha1.BackendReference) {
	for i := range backends {
		if backends[i].StorageRef != nil {
			c.storageReference(o, fmt.Sprintf("spec.backends[%d].storageRef", i), *backends[i].StorageRef)
		}
	}
}

func (c *checker) target(o *Object, field string, target v1alpha1.TypedObjectReference) {
	namespace := c.referenceOf(o).Namespace
	if target.Namespace != "" && target.Namespace != namespace {
		return // That is a mistake of its own.
	}
	c.find(o, field+".name", v1alpha1.ReasonTargetNotFound, Reference{
		GroupKind: schema.GroupKind{Group: target.APIGroup, Kind: target.Kind}, Namespace: namespace, Name: target.Name,
	})
}

// addon checks an Addon, the tasks that are named and their Functions.
func (c *checker) addon(o *Object, field string, info *v1alpha1.AddonInfo, restore bool) {
	if info == nil {
		return
	}
	found := c.find(o, field+".name", v1alpha1.ReasonAddonNotFound, Reference{GroupKind: ours(v1alpha1.AddonKind), Name: info.Name})
	if found == nil {
		return
	}
	var addon v1alpha1.Addon
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), &addon); err != nil {
		c.add(SeverityError, o, Mistake{Field: field + ".name", Reason: v1alpha1.ReasonAddonNotFound,
			Message: fmt.Sprintf("read Addon %s: %v", info.Name, err)})
		return
	}
	c.addAll(o, TaskMistakes(field, &addon, info, restore))
	for _, function := range TaskFunctions(&addon, info, restore) {
		c.find(o, field+".tasks", v1alpha1.ReasonFunctionNotFound, Reference{GroupKind: ours(v1alpha1.FunctionKind), Name: function})
	}
}
