package policy

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ParamSnapshotClass is the parameter of a task that names the VolumeSnapshotClass. Empty: see volumesnapshot.ChooseClass.
const ParamSnapshotClass = "volumeSnapshotClassName"

// ParamContentDeletionPolicy is the parameter of a task that says what becomes of the snapshot in the storage system when Cairn removes
// the VolumeSnapshot.
const ParamContentDeletionPolicy = "contentDeletionPolicy"

// ContentDeletionMistake says why a value of that parameter can't be one; "" where it can.
func ContentDeletionMistake(value string) string {
	switch value {
	case "", "Delete", "Retain":
		return ""
	}
	return fmt.Sprintf("the parameter %s is %q: it is Delete or Retain", ParamContentDeletionPolicy, value)
}

// snapshotClass is the kind that the parameter names.
var snapshotClass = schema.GroupKind{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshotClass"}

// driverUse is who says first of which driver a Repository is.
type driverUse struct {
	driver v1alpha1.Driver
	object *Object
	field  string
}

// backendUses are the drivers that each backend of a policy is used with.
type backendUses map[string][]v1alpha1.Driver

// add notes the repositories of a session whose task has a driver; empty is one that nobody knows.
func (u backendUses) add(backends []v1alpha1.BackendReference, infos []v1alpha1.RepositoryInfo, driver v1alpha1.Driver) {
	if len(infos) == 0 {
		infos = []v1alpha1.RepositoryInfo{{}}
	}
	for _, info := range infos {
		if chosen := chosenBackend(backends, info.Backend); chosen != nil {
			u[chosen.Name] = append(u[chosen.Name], driver)
		}
	}
}

// onlySnapshots says whether a backend is used, and by VolumeSnapshots alone.
func (u backendUses) onlySnapshots(backend string) bool {
	for _, driver := range u[backend] {
		if driver != v1alpha1.DriverVolumeSnapshotter {
			return false
		}
	}
	return len(u[backend]) > 0
}

// peek is an object as far as it is known; nothing is noted where it is not.
func (c *checker) peek(reference Reference) *unstructured.Unstructured {
	if o, ok := c.objects[reference]; ok {
		return o.Unstructured
	}
	if c.lookup == nil {
		return nil
	}
	found, _ := c.lookup(reference)
	return found
}

// taskOf is the backup task that info names, and its Addon, as far as they are known.
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
	return addon, FindTask(addon, info.Tasks[0].Name, false)
}

// driverOf is the driver of the task that info names; empty where only a cluster can tell.
func (c *checker) driverOf(info *v1alpha1.AddonInfo) v1alpha1.Driver {
	addon, _ := c.taskOf(info)
	return TaskDriver(addon, info, false)
}

// oneDriver checks that a Repository is of one driver, whoever names it.
func (c *checker) oneDriver(o *Object, field string, repository Reference, driver v1alpha1.Driver) {
	first, ok := c.drivers[repository]
	if !ok {
		c.drivers[repository] = driverUse{driver: driver, object: o, field: field}
		return
	}
	if first.driver != driver {
		c.add(SeverityError, o, Mistake{Field: field, Reason: v1alpha1.ReasonRepositoryConflict, Message: fmt.Sprintf("%s; it is named at %s",
			OtherDriver(repository.Name, first.driver, driver), c.place(directoryUse{object: first.object, field: first.field}))})
	}
}

// snapshotter checks a session or target whose task makes VolumeSnapshots: who runs it, and what its class does with the data.
func (c *checker) snapshotter(o *Object, field string, info *v1alpha1.AddonInfo, executor v1alpha1.Executor) {
	addon, task := c.taskOf(info)
	if task == nil || task.Driver != v1alpha1.DriverVolumeSnapshotter {
		return
	}
	if Executor(executor, addon, info, false) == v1alpha1.ExecutorSidecar {
		c.add(SeverityError, o, Mistake{Field: field + ".executor", Reason: v1alpha1.ReasonSidecarNotPossible, Message: noSnapshotterSidecar(task.Name) + ": take executor Job"})
	}
	name := parameterOf(task, &info.Tasks[0], ParamSnapshotClass)
	if name == "" || strings.Contains(name, "${") {
		return
	}
	at := field + ".addon.tasks[0].params." + ParamSnapshotClass
	class := c.find(o, at, v1alpha1.ReasonVolumeSnapshotClassNotFound, Reference{GroupKind: snapshotClass, Name: name})
	if class == nil {
		return
	}
	if what, _, _ := unstructured.NestedString(class.Object, "deletionPolicy"); what == "Delete" {
		c.add(SeverityWarning, o, Mistake{Field: at, Reason: v1alpha1.ReasonVolumeSnapshotClassDeletes, Message: DeletesData("VolumeSnapshotClass " + name + " has")})
	}
}

// noSnapshotterSidecar is why a task that makes VolumeSnapshots does not run in a sidecar.
func noSnapshotterSidecar(task string) string {
	return fmt.Sprintf("the task %q makes VolumeSnapshots, which needs rights that no container of a workload has", task)
}

// DeletesData says what deletionPolicy Delete means for VolumeSnapshots; who has it comes with its verb.
func DeletesData(who string) string {
	return who + " deletionPolicy Delete: whoever deletes a VolumeSnapshot or the namespace deletes the data with it. " +
		"A class with deletionPolicy Retain keeps the data from everybody but Cairn's own removal"
}

// parameterOf is the value of a task's parameter: that of the policy, else the Addon's default.
func parameterOf(task *v1alpha1.Task, reference *v1alpha1.TaskReference, name string) string {
	given, _ := paramsOf(reference.Params)
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
