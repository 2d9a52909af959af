package backupsession

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// batch resolves the targets of a batch through its children, in the order of the session.
func (r *resolution) batch(ctx context.Context, b *v1alpha1.BackupBatch) ([]backup.StartTarget, error) {
	i := slices.IndexFunc(b.Spec.Sessions,
		func(c v1alpha1.BackupBatchSession) bool { return c.Name == r.session.Spec.Session })
	find, err := r.finds(ctx, b)
	if err != nil {
		return nil, err
	}
	r.wanted = wantedOf(b, find)
	var out []backup.StartTarget
	says := map[string]*v1alpha1.BatchSessionTarget{}
	for k := range b.Spec.Sessions[i].Targets {
		says[b.Spec.Sessions[i].Targets[k].Name] = &b.Spec.Sessions[i].Targets[k]
	}
	for _, bt := range policy.SessionTargets(&b.Spec.Sessions[i], policy.TargetsInForce(b, find)) {
		t, err := r.child(ctx, b, bt)
		if does := says[bt.Entry()]; err == nil {
			t.Resolved.Timeout = does.BackupTimeout.DeepCopy()
			t.Resolved.Hooks, t.HookError, err = r.hooksOf(ctx, r.session, does.Hooks.BackupHooks(), &t.Resolved.AppRef)
		}
		if movers.Lasting(err) {
			t, err = notLookedUp(bt.Name, bt.AppRef, policy.ChildName(b.Name, bt.Name), err), nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// targetsOf returns the targets of a batch, including what its selectors find now.
func (r *Reconciler) targetsOf(ctx context.Context, b *v1alpha1.BackupBatch) ([]policy.Target, error) {
	find, err := r.finds(ctx, b)
	if err != nil {
		return nil, err
	}
	return policy.TargetsInForce(b, find), nil
}

// finds returns what the selectors of a batch find now.
func (r *Reconciler) finds(ctx context.Context, b *v1alpha1.BackupBatch) (policy.Find, error) {
	candidates, err := r.selection.Candidates(ctx, r.Client, r.APIReader, b)
	if err != nil {
		return nil, err
	}
	return policy.FindAmong(b, candidates), nil
}

// wantedOf returns the children that a batch asks for, by name. It is nil for a batch with mistakes, whose children
// stay as they are.
func wantedOf(b *v1alpha1.BackupBatch, find policy.Find) map[string]*v1alpha1.BackupConfiguration {
	children, err := policy.Expand(b, find)
	if err != nil || b.Status.Phase == v1alpha1.PhaseInvalid && b.Status.ObservedGeneration == b.Generation {
		return nil
	}
	out := make(map[string]*v1alpha1.BackupConfiguration, len(children))
	for i := range children {
		out[children[i].Name] = &children[i]
	}
	return out
}

// child resolves one target of a batch. The run waits for a child that is missing, is older than the batch or is not
// what the batch asks for.
func (r *resolution) child(
	ctx context.Context, b *v1alpha1.BackupBatch, bt policy.Target,
) (backup.StartTarget, error) {
	name := policy.ChildName(b.Name, bt.Name)
	var child v1alpha1.BackupConfiguration
	err := r.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: name}, &child)
	waiting := r.Clock.Now().Before(r.start.Until(run.WaitForChild))
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return backup.StartTarget{}, fmt.Errorf("get BackupConfiguration %s: %w", name, err)
	case err != nil:
		return childRefused(b, bt, "does not exist yet"), nil
	case !metav1.IsControlledBy(&child, b):
		return refusedTarget(bt.Name, bt.AppRef, name, 0, v1alpha1.ReasonNameConflict,
			"BackupConfiguration %s does not belong to BackupBatch %s", name, b.Name), nil
	case b.Status.ObservedGeneration < b.Generation && waiting, r.outdated(b, bt, &child, policy.ChildDigest):
		return childRefused(b, bt, notYet(b)), nil
	default:
		return r.target(ctx, bt.Name, bt.AppRef, &child)
	}
}

// alone resolves the target of a BackupConfiguration whose own run this is. The run of a child waits as that of its
// batch does.
func (r *resolution) alone(ctx context.Context, c *v1alpha1.BackupConfiguration) (backup.StartTarget, error) {
	owner := metav1.GetControllerOf(c)
	if owner == nil || owner.Kind != v1alpha1.BackupBatchKind {
		return r.target(ctx, c.Name, *c.Spec.Target, c)
	}
	var b v1alpha1.BackupBatch
	err := r.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: owner.Name}, &b)
	if apierrors.IsNotFound(err) || err == nil && b.UID != owner.UID {
		return r.target(ctx, c.Name, *c.Spec.Target, c)
	} else if err != nil {
		return backup.StartTarget{}, fmt.Errorf("get BackupBatch %s: %w", owner.Name, err)
	}
	find, err := r.finds(ctx, &b)
	if err != nil {
		return backup.StartTarget{}, err
	}
	r.wanted = wantedOf(&b, find)
	for _, bt := range policy.TargetsInForce(&b, find) {
		if policy.ChildName(b.Name, bt.Name) == c.Name && r.outdated(&b, bt, c, whole) {
			t := childRefused(&b, bt, notYet(&b))
			t.Resolved.Name = c.Name
			return t, nil
		}
	}
	return r.target(ctx, c.Name, *c.Spec.Target, c)
}

// whole is the digest for the run of a child alone, which takes hooks and timeouts from it, too.
func whole(spec *v1alpha1.BackupConfigurationSpec, _ string) string { return policy.Digest(spec) }

// outdated reports whether the session would back up a target by an earlier policy, because the batch could not write
// the child: what the digest covers differs. What somebody else has changed in a child since the batch wrote it counts
// only if it cannot be reverted.
func (r *resolution) outdated(
	b *v1alpha1.BackupBatch, bt policy.Target, child *v1alpha1.BackupConfiguration,
	digest func(spec *v1alpha1.BackupConfigurationSpec, session string) string,
) bool {
	const written = v1alpha1.AnnotationSpecDigest
	wanted, session := r.wanted[child.Name], r.session.Spec.Session
	return wanted != nil && (child.Annotations[written] != wanted.Annotations[written] || unwritable(b, bt)) &&
		digest(&child.Spec, session) != digest(&wanted.Spec, session)
}

// unwritable reports whether the API server refused the last write of the target's child.
func unwritable(b *v1alpha1.BackupBatch, bt policy.Target) bool {
	return slices.ContainsFunc(b.Status.Targets, func(t v1alpha1.BatchTargetStatus) bool {
		return t.Name == bt.Name && t.Reason == v1alpha1.ReasonReconcileFailed && t.Phase == v1alpha1.PhaseNotReady
	})
}

func notYet(b *v1alpha1.BackupBatch) string {
	return "is not yet what BackupBatch " + b.Name + " asks for"
}

// childRefused returns a target whose child is wrong. If the API server is the reason, it says so in the words of the
// batch.
func childRefused(b *v1alpha1.BackupBatch, bt policy.Target, what string) backup.StartTarget {
	name, reason := policy.ChildName(b.Name, bt.Name), v1alpha1.ReasonChildrenNotReady
	if unwritable(b, bt) {
		reason = v1alpha1.ReasonReconcileFailed
		what += ", because the API server refuses the change: " + conditions.GetMessage(b, meta.ReadyCondition)
	}
	return refusedTarget(bt.Name, bt.AppRef, name, run.WaitForChild, reason, "BackupConfiguration %s %s", name, what)
}

// notLookedUp returns a target that can't be looked up. It does not hold up the other targets for long.
func notLookedUp(name string, app v1alpha1.TypedObjectReference, configuration string, err error) backup.StartTarget {
	app.Namespace = ""
	return refusedTarget(name, app, configuration, run.WaitForRepository, v1alpha1.ReasonReconcileFailed,
		"it can't be looked up: %v", err)
}

// refusedTarget returns a target that can't be backed up, or not yet.
func refusedTarget(
	name string, app v1alpha1.TypedObjectReference, configuration string, wait time.Duration, reason, format string,
	args ...any,
) backup.StartTarget {
	return backup.StartTarget{
		Resolved: v1alpha1.ResolvedTarget{
			Name: name, AppRef: app, Configuration: configuration,
			Error: &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)},
		},
		Wait: wait,
	}
}
