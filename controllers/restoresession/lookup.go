package restoresession

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/session/movers"
)

// waitForTarget is how long a claim that does not exist is waited for: a GitOps tool applies both at once.
const waitForTarget = time.Minute

// lookUp finds out everything about a restore that is not frozen.
func (r *Reconciler) lookUp(ctx context.Context, s *v1alpha1.RestoreSession) (*session.RestoreStart, error) {
	start := &session.RestoreStart{Since: session.Since(s.Status.Conditions, r.Clock.Now())}
	if s.Spec.RestoreTimeout != nil {
		start.Timeout = s.Spec.RestoreTimeout.Duration
	}
	refuse := func(wait time.Duration, reason, format string, args ...any) (*session.RestoreStart, error) {
		start.Error, start.Wait = &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}, wait
		return start, nil
	}
	// The claim's stamp decides whether data is written: it is read past the cache.
	claim, err := r.claim(ctx, s.Namespace, s.Spec.Target.Name)
	if err != nil {
		return nil, err
	}
	if claim == nil {
		return refuse(waitForTarget, v1alpha1.ReasonTargetNotFound, "there is no PersistentVolumeClaim %s", s.Spec.Target.Name)
	}
	start.TargetFound = true
	digest := policy.Digest(s.Spec)
	if claim.Annotations[v1alpha1.AnnotationRestored] == digest {
		start.AlreadyRestored = true
		return start, nil
	}
	steps := []func(context.Context, *v1alpha1.RestoreSession, *session.RestoreStart) error{r.snapshot, r.repository, r.task}
	start.Resolved = v1alpha1.ResolvedRestore{SpecDigest: digest, ClaimName: claim.Name, ClaimUID: claim.UID}
	if start.Resolved.Policy, _, err = lifecycle.Policy(ctx, r.Client, s.Labels); err != nil {
		return nil, err
	}
	start.Resolved.Policy.Generation, start.Resolved.Policy.Digest = s.Generation, digest
	for _, step := range steps {
		if err := step(ctx, s, start); err != nil || start.Error != nil {
			return start, err
		}
	}
	err = r.usable(ctx, s, claim)
	if start.Error = movers.RefusalOf(err); start.Error != nil {
		return start, nil
	}
	return start, err
}

// claim reads a PersistentVolumeClaim past the cache. It is nil when there is none.
func (r *Reconciler) claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	claim := &corev1.PersistentVolumeClaim{}
	err := lifecycle.Get(ctx, r.APIReader, client.ObjectKey{Namespace: namespace, Name: name}, claim)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get persistent volume claim %s: %w", name, err)
	default:
		return claim, nil
	}
}

// snapshot chooses Snapshot and component.
func (r *Reconciler) snapshot(ctx context.Context, s *v1alpha1.RestoreSession, start *session.RestoreStart) error {
	refuse := func(reason, format string, args ...any) {
		start.Error = &v1alpha1.ResolvedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	source := s.Spec.DataSource
	var snap *v1alpha1.Snapshot
	if source.Snapshot == v1alpha1.LatestSnapshot {
		var list v1alpha1.SnapshotList
		selector := client.MatchingLabels{v1alpha1.LabelRepository: policy.LabelValue(source.Repository)}
		if err := r.List(ctx, &list, client.InNamespace(s.Namespace), selector); err != nil {
			return fmt.Errorf("list snapshots of repository %s: %w", source.Repository, err)
		}
		if snap = session.Latest(list.Items, source.Repository); snap == nil {
			refuse(v1alpha1.ReasonSnapshotNotFound, "Repository %s has no Snapshot that succeeded", source.Repository)
			return nil
		}
	} else {
		snap = &v1alpha1.Snapshot{}
		err := lifecycle.Get(ctx, r.APIReader, client.ObjectKey{Namespace: s.Namespace, Name: source.Snapshot}, snap)
		switch {
		case apierrors.IsNotFound(err):
			refuse(v1alpha1.ReasonSnapshotNotFound, "there is no Snapshot %s", source.Snapshot)
			return nil
		case err != nil:
			return fmt.Errorf("get snapshot %s: %w", source.Snapshot, err)
		case v1alpha1.HasRecordAnnotation(snap.Annotations):
			refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s is a record, not a Snapshot", source.Snapshot)
			return nil
		case source.Repository != "" && source.Repository != snap.Spec.Repository:
			refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s is in Repository %s, not in %s", snap.Name, snap.Spec.Repository, source.Repository)
			return nil
		case snap.Status.Phase != v1alpha1.SnapshotSucceeded:
			refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s is not one that succeeded: its phase is %q", snap.Name, snap.Status.Phase)
			return nil
		}
	}
	component, refusal := session.ChooseComponent(snap, source.Components)
	if refusal != nil {
		start.Error = refusal
		return nil
	}
	c := snap.Status.Components[component]
	if c.Phase != v1alpha1.SnapshotSucceeded || c.ID == "" {
		refuse(v1alpha1.ReasonComponentNotFound, "component %s of Snapshot %s has no data", component, snap.Name)
		return nil
	}
	out := &start.Resolved
	out.Snapshot, out.SnapshotUID, out.Component, out.ID, out.Path = snap.Name, snap.UID, component, c.ID, c.Path
	out.Repository.Name = snap.Spec.Repository
	return nil
}

// repository freezes the Repository that the Snapshot is in.
func (r *Reconciler) repository(ctx context.Context, s *v1alpha1.RestoreSession, start *session.RestoreStart) error {
	var repo v1alpha1.Repository
	name := start.Resolved.Repository.Name
	err := r.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &repo)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get repository %s: %w", name, err)
	}
	if err != nil || repo.Status.Phase != v1alpha1.PhaseReady {
		message := fmt.Sprintf("there is no Repository %s", name)
		if err == nil {
			message = fmt.Sprintf("Repository %s is not ready: %s", name, conditions.GetMessage(&repo, meta.ReadyCondition))
		}
		start.Error = &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonRepositoryNotReady, Message: message}
		if !conditions.IsStalled(&repo) {
			start.Wait = session.WaitForRepository
		}
		return nil
	}
	out := v1alpha1.ResolvedRepository{
		Name: repo.Name, UID: repo.UID, StorageRef: repo.Spec.StorageRef, EncryptionSecret: repo.Spec.EncryptionSecret,
		Directory: policy.NormalizeDirectory(repo.Spec.Path),
	}
	if out.StorageRef.Namespace == "" {
		out.StorageRef.Namespace = s.Namespace
	}
	if out.EncryptionSecret.Namespace == "" {
		out.EncryptionSecret.Namespace = s.Namespace
	}
	start.Resolved.Repository = out
	return nil
}

// usable is an error that says why the claim must not be written to now. A claim that is bound only when a pod needs it is
// fine: the mover's pod is the first.
func (r *Reconciler) usable(ctx context.Context, s *v1alpha1.RestoreSession, claim *corev1.PersistentVolumeClaim) error {
	switch {
	case claim.DeletionTimestamp != nil:
		return movers.Refuse(v1alpha1.ReasonTargetNotFound, "PersistentVolumeClaim %s is being deleted", claim.Name)
	case claim.Status.Phase == corev1.ClaimLost:
		return movers.Refuse(v1alpha1.ReasonVolumeNotBound, "PersistentVolumeClaim %s has lost its volume", claim.Name)
	case claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return movers.Refuse(v1alpha1.ReasonNoVolumes, "PersistentVolumeClaim %s is a raw block device: only file systems can be restored", claim.Name)
	}
	var restores v1alpha1.RestoreSessionList
	if err := r.APIReader.List(ctx, &restores, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list restore sessions: %w", err)
	}
	if other := session.Restoring(restores.Items, claim.Name, s.UID); other != nil {
		return movers.Refuse(v1alpha1.ReasonRestoreInProgress, "RestoreSession %s writes into PersistentVolumeClaim %s", other.Name, claim.Name)
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if !ended && session.Mounts(p, claim.Name) {
			return movers.Refuse(v1alpha1.ReasonVolumeInUse, "pod %s uses PersistentVolumeClaim %s: a restore writes only into a volume that nothing uses", p.Name, claim.Name)
		}
	}
	return nil
}
