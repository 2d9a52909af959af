package check

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/policy"
)

func (c *checker) batch(o *Object) {
	var batch v1alpha1.BackupBatch
	if !c.read(o, v1alpha1.BackupBatchKind, &batch) {
		return
	}
	batch.Namespace = c.referenceOf(o).Namespace
	candidates := c.candidates(batch.Namespace)
	find := policy.FindAmong(&batch, candidates)
	c.addAll(o, policy.BatchMistakes(&batch, find))
	c.backends(o, batch.Spec.Backends, c.batchUses(&batch))
	stands, targets := map[string][]policy.Target{}, policy.Targets(&batch, find)
	for _, m := range policy.Overlaps(&batch, targets, candidates) {
		c.add(SeverityWarning, o, m)
	}
	for _, t := range targets {
		stands[t.Entry()] = append(stands[t.Entry()], t)
	}
	for i := range batch.Spec.Targets {
		target := &batch.Spec.Targets[i]
		if target.Selector == nil {
			c.target(o, fmt.Sprintf("spec.targets[%d].appRef", i), target.AppRef)
		} else if len(stands[target.Name]) == 0 {
			c.add(unknown, o, policy.Mistake{
				Field:   fmt.Sprintf("spec.targets[%d].selector", i),
				Reason:  v1alpha1.ReasonTargetNotFound,
				Message: "it finds nothing among these files: only the cluster can tell what it finds",
			})
		}
	}
	for i := range batch.Spec.Sessions {
		hooks, builtin := policy.BatchHooks(&batch, i)
		c.hooks(o, hooks, builtin)
		for j := range batch.Spec.Sessions[i].Targets {
			c.batchTarget(o, &batch, i, j, stands)
		}
	}
}

// batchTarget checks what session i of a batch sets for its target j.
func (c *checker) batchTarget(o *Object, batch *v1alpha1.BackupBatch, i, j int, stands map[string][]policy.Target) {
	session := &batch.Spec.Sessions[i]
	says := &session.Targets[j]
	at := slices.IndexFunc(batch.Spec.Targets, func(t v1alpha1.BatchTarget) bool { return t.Name == says.Name })
	if at < 0 {
		return // batchCheck.session reports it.
	}
	field := fmt.Sprintf("spec.sessions[%d].targets[%d]", i, j)
	var known *v1alpha1.TypedObjectReference
	if batch.Spec.Targets[at].Selector == nil {
		known = &batch.Spec.Targets[at].AppRef
	}
	c.hooks(o, policy.TargetHooks(field, says),
		policy.BackupHookValues(batch.Namespace, v1alpha1.BackupBatchKind, batch.Name,
			session.Name, known))
	var checked []string
	for _, app := range examples(&batch.Spec.Targets[at]) {
		addon := AddonOrInferred(says.Addon, app)
		if addon == nil {
			c.noAddon(o, field+".addon", app)
			continue
		}
		if !slices.Contains(checked, addon.Name) {
			c.addon(o, field+".addon", addon, false, &app,
				catalog.PlaceholdersOfBackup(&app, len(policy.TargetRepositories(session, says, &policy.Target{}))))
			c.copies(o, field, app, says.Executor, says.CopyMethod, addon)
			c.snapshotter(o, field, addon, says.Executor)
		}
		checked = append(checked, addon.Name)
	}
	if len(says.Repositories) == 0 && len(session.Repositories) > 0 {
		field = fmt.Sprintf("spec.sessions[%d]", i)
	}
	targets := stands[says.Name]
	for k := range targets {
		app := targets[k].AppRef
		c.repositoryInfos(o, infosOf{
			field: field, fallback: policy.ChildName(batch.Name, targets[k].Name), target: app,
			backends: batch.Spec.Backends,
			driver:   c.driverOf(AddonOrInferred(says.Addon, app)),
		}, policy.TargetRepositories(session, says, &targets[k]))
	}
	if len(targets) == 0 {
		c.repositoryInfos(o, infosOf{
			field: field, fallback: policy.ChildName(batch.Name, says.Name), backends: batch.Spec.Backends,
			driver: c.driverOf(says.Addon),
		}, unnamed(session, says))
	}
}

// batchUses returns the drivers with which the backends of a batch are used.
func (c *checker) batchUses(batch *v1alpha1.BackupBatch) backendUses {
	uses := backendUses{}
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		for j := range session.Targets {
			says := &session.Targets[j]
			uses.add(batch.Spec.Backends, policy.TargetRepositories(session, says, &policy.Target{}),
				c.driverOf(says.Addon))
		}
	}
	return uses
}

// unnamed returns the repositories of unknown targets without name and directory, which is as far as they can be
// checked.
func unnamed(session *v1alpha1.BackupBatchSession, says *v1alpha1.BatchSessionTarget) []v1alpha1.RepositoryInfo {
	out := policy.TargetRepositories(session, says, &policy.Target{})
	for i := range out {
		out[i].Name, out[i].Directory = "", ""
	}
	return out
}

// examples returns one example for each kind of object that a target can stand for.
func examples(target *v1alpha1.BatchTarget) []v1alpha1.TypedObjectReference {
	if target.Selector == nil {
		return []v1alpha1.TypedObjectReference{target.AppRef}
	}
	var out []v1alpha1.TypedObjectReference
	for _, kind := range target.Selector.Kinds {
		out = append(out, v1alpha1.TypedObjectReference{APIGroup: kind.Group(), Kind: string(kind), Name: target.Name})
	}
	return out
}

// candidates returns the objects of the set that a selector of a batch of the namespace can find.
func (c *checker) candidates(namespace string) []policy.Candidate {
	var out []policy.Candidate
	for reference, o := range c.objects {
		kind := v1alpha1.TargetKind(reference.Kind)
		if reference.Namespace != namespace || kind.Group() != reference.Group || !slices.Contains(v1alpha1.TargetKinds,
			kind) {
			continue
		}
		out = append(out,
			policy.Candidate{Kind: kind, Name: reference.Name, Labels: o.GetLabels(), Volumes: volumesIn(o)})
	}
	return out
}

// volumesIn returns where the pods of a workload keep their data, as far as its manifest shows it.
func volumesIn(o *Object) *policy.PodVolumes {
	var workload runtime.Object
	switch o.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: appsv1.GroupName, Kind: v1alpha1.KindDeployment}:
		workload = &appsv1.Deployment{}
	case schema.GroupKind{Group: appsv1.GroupName, Kind: v1alpha1.KindStatefulSet}:
		workload = &appsv1.StatefulSet{}
	case schema.GroupKind{Group: appsv1.GroupName, Kind: v1alpha1.KindDaemonSet}:
		workload = &appsv1.DaemonSet{}
	default:
		return nil
	}
	if runtime.DefaultUnstructuredConverter.FromUnstructured(o.UnstructuredContent(), workload) != nil {
		return nil
	}
	return policy.VolumesOf(workload)
}
