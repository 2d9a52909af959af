package restorebatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookround"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
)

// lookUp collects everything that the start of a RestoreBatch depends on.
func (r *Reconciler) lookUp(ctx context.Context, b *v1alpha1.RestoreBatch) (*restorebatch.Start, error) {
	start := &restorebatch.Start{Since: run.Since(b.Status.Conditions, r.Clock.Now())}
	if b.Spec.RestoreTimeout != nil {
		start.Timeout = b.Spec.RestoreTimeout.Duration
	}
	resolved := &start.Resolved
	var err error
	if resolved.Policy, _, err = read.Policy(ctx, r.Client, b.Labels); err != nil {
		return nil, err
	}
	resolved.SpecDigest = restorebatch.SpecDigests(b)[0]
	resolved.Policy.Generation, resolved.Policy.Digest = b.Generation, policy.Digest(b.Spec)
	resolved.Namespace = cmp.Or(b.Spec.DataSource.Namespace, b.Namespace)
	repositories, err := r.repositories(ctx, b, resolved.Namespace)
	if err != nil {
		return nil, err
	}
	snapshots, err := r.snapshots(ctx, b, resolved.Namespace, repositories)
	if err != nil {
		return nil, err
	}
	var chosen map[string]*v1alpha1.Snapshot
	now := run.Latest(r.Clock.Now(), b.CreationTimestamp)
	if chosen, start.Error = restorebatch.ChooseSnapshots(snapshots, &b.Spec, now); start.Error != nil {
		return start, r.withoutSnapshots(ctx, b, start, snapshots, repositories)
	}
	start.HoldsLess = restorebatch.HoldsLess(snapshots, &b.Spec, chosen, now)
	resolved.Targets = restorebatch.ResolveRestoreTargets(b, chosen)
	if start.Error = restorebatch.DatabaseMistakes(b, resolved.Targets); start.Error != nil {
		return start, nil
	}
	if err := r.resolveAround(ctx, b, start); start.Error != nil || start.AlreadyRestored || err != nil {
		return start, err
	}
	if err := r.awaitData(ctx, b, start, chosen); start.Error != nil || err != nil {
		return start, err
	}
	elsewhere, err := r.elsewhere(ctx, b, resolved.Namespace, restorebatch.SoughtAfter(&b.Spec, chosen), snapshots,
		repositories, now)
	start.Newer = restorebatch.NewerSnapshots(snapshots, elsewhere, &b.Spec, chosen, now)
	return start, err
}

// withoutSnapshots ends the look at a RestoreBatch whose Snapshots can't be chosen. They can have been deleted after
// the restore.
func (r *Reconciler) withoutSnapshots(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start, snapshots []v1alpha1.Snapshot,
	repositories []v1alpha1.Repository,
) (err error) {
	if start.AlreadyRestored, err = r.stamped(ctx, b, nil); start.AlreadyRestored || err != nil {
		return err
	}
	if err := r.underAnotherName(ctx, b, start, snapshots, repositories); err != nil {
		return err
	}
	if namespace := start.Resolved.Namespace; namespace != b.Namespace && len(snapshots) == 0 {
		start.Error = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonRestoreNotAllowed, Message: fmt.Sprintf(
			"among the Snapshots of namespace %s whose Repositories allow namespace %s to restore them with the "+
				"annotation %s: %s",
			namespace, b.Namespace, v1alpha1.AnnotationRestoreTo, start.Error.Message)}
	}
	return nil
}

// resolveAround resolves what a RestoreBatch does before and after it restores: its hooks, and the workloads that it
// scales. One that was made again, and restores nothing again, runs no hook and scales nothing. If a RestoreSession
// would be refused because of what its target can hold, the RestoreBatch is, before a preRestore hook touches that, or
// the pods are gone. A confirmation of another object always refuses all of it.
func (r *Reconciler) resolveAround(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start,
) error {
	if b.Spec.Hooks == nil && len(b.Spec.ScaleDown) == 0 {
		var err error
		start.Error, err = r.spent(ctx, b, start.Resolved.Targets, false)
		return err
	}
	if err := r.awaitDatabases(ctx, b, start); start.Error != nil || err != nil {
		return err
	}
	if filled, err := r.stamped(ctx, b, start.Resolved.Targets); filled || err != nil {
		start.AlreadyRestored = filled && b.Spec.Hooks != nil
		return err
	}
	if err := r.resolveHooks(ctx, b, start); start.Error != nil || err != nil {
		return err
	}
	touches := len(b.Spec.ScaleDown) > 0 || hookround.Has(start.Resolved.Hooks, hookstage.Pre)
	var err error
	if start.Error, err = r.spent(ctx, b, start.Resolved.Targets, touches); start.Error != nil || err != nil {
		return err
	}
	return r.resolveScaling(ctx, b, start)
}

// repositories returns the Repositories of a namespace that this namespace is allowed to restore. It reveals nothing
// about another namespace before the owner of a Repository consents.
func (r *Reconciler) repositories(
	ctx context.Context, b *v1alpha1.RestoreBatch, namespace string,
) ([]v1alpha1.Repository, error) {
	reader, foreign := client.Reader(r.Client), namespace != b.Namespace
	if foreign {
		reader = r.APIReader
	}
	var list v1alpha1.RepositoryList
	if err := reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list Repositories of Namespace %s: %w", namespace, err)
	}
	return slices.DeleteFunc(list.Items, func(repository v1alpha1.Repository) bool {
		return foreign && !policy.AllowsRestoreTo(&repository, b.Namespace)
	}), nil
}

// snapshots returns the Snapshots of the BackupBatch that this namespace is allowed to restore. It reads past the
// cache: a restore right after a backup means that backup.
func (r *Reconciler) snapshots(
	ctx context.Context, b *v1alpha1.RestoreBatch, namespace string, allowed []v1alpha1.Repository,
) ([]v1alpha1.Snapshot, error) {
	var list v1alpha1.SnapshotList
	selector := client.MatchingLabels{
		v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind,
		v1alpha1.LabelInvokerName: policy.LabelValue(b.Spec.DataSource.BackupBatch),
	}
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace), selector); err != nil {
		return nil, fmt.Errorf("list Snapshots of BackupBatch %s: %w", b.Spec.DataSource.BackupBatch, err)
	}
	if namespace == b.Namespace {
		return list.Items, nil
	}
	names := map[string]bool{}
	for i := range allowed {
		names[allowed[i].Name] = true
	}
	return slices.DeleteFunc(list.Items, func(s v1alpha1.Snapshot) bool { return !names[s.Spec.Repository] }), nil
}

// resolveHooks resolves the hooks around all targets.
func (r *Reconciler) resolveHooks(
	ctx context.Context, b *v1alpha1.RestoreBatch, start *restorebatch.Start,
) error {
	if b.Spec.Hooks == nil {
		return nil
	}
	hooks, refusal, err := read.Hooks(ctx, read.FallbackReader{Reader: r.Client, Live: r.APIReader}, b.Namespace,
		b.Spec.Hooks.PreRestore, b.Spec.Hooks.PostRestore,
		policy.RestoreBatchHookValues(b, b.Namespace), r.MoverImage)
	for i := range start.Resolved.Targets {
		if target := start.Resolved.Targets[i].Target; hooks != nil && target != nil {
			hooks.Targets = append(hooks.Targets, *target)
		}
	}
	start.Resolved.Hooks, start.Error = hooks, refusal
	if refusal != nil && hook.MayCome(refusal.Reason) {
		start.Wait = run.WaitForChild
	}
	return err
}
