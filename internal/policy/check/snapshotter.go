package check

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

// driverUse is the place that first set the driver of a Repository.
type driverUse struct {
	driver v1alpha1.Driver
	object *Object
	field  string
}

// backendUses holds the drivers with which each backend of a policy is used.
type backendUses map[string][]v1alpha1.Driver

// add records the repositories of a session whose task has a driver; empty if the driver is unknown.
func (u backendUses) add(
	backends []v1alpha1.BackendReference, infos []v1alpha1.RepositoryInfo, driver v1alpha1.Driver,
) {
	if len(infos) == 0 {
		infos = []v1alpha1.RepositoryInfo{{}}
	}
	for _, info := range infos {
		if chosen := policy.ChosenBackend(backends, info.Backend); chosen != nil {
			u[chosen.Name] = append(u[chosen.Name], driver)
		}
	}
}

// onlySnapshots reports whether a backend is used by VolumeSnapshots and nothing else.
func (u backendUses) onlySnapshots(backend string) bool {
	for _, driver := range u[backend] {
		if driver != v1alpha1.DriverVolumeSnapshotter {
			return false
		}
	}
	return len(u[backend]) > 0
}

// peek returns an object if it is known. It records no mistake otherwise.
func (c *checker) peek(reference Reference) *unstructured.Unstructured {
	if o, ok := c.objects[reference]; ok {
		return o.Unstructured
	}
	if c.Lookup == nil {
		return nil
	}
	found, _ := c.Lookup(reference)
	return found
}

// taskOf returns the backup task that info names, and its Addon, as far as they are known.
func (c *checker) taskOf(info *v1alpha1.AddonInfo) (*v1alpha1.Addon, *v1alpha1.Task) {
	if info == nil || len(info.Tasks) == 0 {
		return nil, nil
	}
	found := c.peek(Reference{GroupKind: ours(v1alpha1.AddonKind), Name: info.Name})
	if found == nil {
		return nil, nil
	}
	addon := &v1alpha1.Addon{}
	if runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), addon) != nil {
		return nil, nil
	}
	return addon, catalog.FindTask(addon, info.Tasks[0].Name, false)
}

// driverOf returns the driver of the task that info names; empty if only a cluster can tell.
func (c *checker) driverOf(info *v1alpha1.AddonInfo) v1alpha1.Driver {
	addon, _ := c.taskOf(info)
	return catalog.TaskDriver(addon, info, false)
}

// oneDriver checks that every object that names a Repository means the same driver.
func (c *checker) oneDriver(o *Object, field string, repository Reference, driver v1alpha1.Driver) {
	first, ok := c.drivers[repository]
	if !ok {
		c.drivers[repository] = driverUse{driver: driver, object: o, field: field}
		return
	}
	if first.driver != driver {
		c.add(SeverityError, o, policy.Mistake{
			Field: field, Reason: v1alpha1.ReasonRepositoryConflict,
			Message: fmt.Sprintf("%s. The other one is at %s",
				policy.OtherDriverMessage(repository.Name, first.driver, driver), c.place(directoryUse{
					object: first.object,
					field:  first.field,
				})),
		})
	}
}

// snapshotter checks a session or target whose task makes VolumeSnapshots: what runs it, and what its class does with
// the data.
func (c *checker) snapshotter(o *Object, field string, info *v1alpha1.AddonInfo, executor v1alpha1.Executor) {
	addon, task := c.taskOf(info)
	if task == nil || task.Driver != v1alpha1.DriverVolumeSnapshotter {
		return
	}
	if catalog.Executor(executor, addon, info, false) == v1alpha1.ExecutorSidecar {
		c.add(SeverityError, o, policy.Mistake{
			Field: field + ".executor", Reason: v1alpha1.ReasonSidecarNotPossible,
			Message: catalog.NoSnapshotterSidecar(task.Name) + ": use executor Job",
		})
	}
	name := parameterOf(task, &info.Tasks[0], catalog.ParamSnapshotClass)
	if name == "" || strings.Contains(name, "${") {
		return
	}
	at := field + ".addon.tasks[0].params." + catalog.ParamSnapshotClass
	class := c.find(o, at, v1alpha1.ReasonVolumeSnapshotClassNotFound,
		Reference{GroupKind: catalog.SnapshotClass, Name: name})
	if class == nil {
		return
	}
	if what, _, _ := unstructured.NestedString(class.Object, "deletionPolicy"); what == "Delete" {
		c.add(SeverityWarning, o, policy.Mistake{
			Field: at, Reason: v1alpha1.ReasonVolumeSnapshotClassDeletes,
			Message: DeletesData("VolumeSnapshotClass " + name + " has"),
		})
	}
}

// DeletesData explains what deletionPolicy Delete means for VolumeSnapshots. who is the start of the sentence with its
// verb.
func DeletesData(who string) string {
	return who +
		" deletionPolicy Delete: whoever deletes a VolumeSnapshot or the namespace deletes the data with it. " +
		"With a class whose deletionPolicy is Retain, only Cairn removes the data"
}

// parameterOf returns the value of a task's parameter: the policy's, else the Addon's default.
func parameterOf(task *v1alpha1.Task, reference *v1alpha1.TaskReference, name string) string {
	given, _ := catalog.ParamsOf(reference.Params)
	if value, ok := given[name].(string); ok && value != "" {
		return value
	}
	for _, p := range task.Parameters {
		if p.Name == name {
			return p.Default
		}
	}
	return ""
}
