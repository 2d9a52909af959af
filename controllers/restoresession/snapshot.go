package restoresession

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// sourceNamespace returns the namespace of Snapshot and Repository.
func sourceNamespace(s *v1alpha1.RestoreSession) string {
	if source := s.Spec.DataSource; source != nil && source.Namespace != "" {
		return source.Namespace
	}
	return s.Namespace
}

// depends records whether an object of Cairn that the restore depends on exists.
func (s *lookup) depends(kind, namespace, name string, found bool) {
	s.Dependencies = append(s.Dependencies, v1alpha1.ResourceFoundStatus{
		TypedObjectReference: v1alpha1.TypedObjectReference{
			APIGroup: v1alpha1.Group, Kind: kind, Namespace: namespace, Name: name,
		},
		Found: &found,
	})
}

// findSnapshot chooses the Snapshot. It reveals nothing about another namespace before the Repository there consents.
func (r *Reconciler) findSnapshot(ctx context.Context, look *lookup) error {
	source, namespace := look.session.Spec.DataSource, sourceNamespace(look.session)
	if source == nil {
		return nil // The templates name VolumeSnapshots.
	}
	if source.Repository != "" {
		if err := r.consent(ctx, look.session.Namespace, namespace, source.Repository); err != nil {
			look.Error = movers.RefusalOf(err)
			return ignoreRefusal(err)
		}
	}
	snap, err := r.chooseSnapshot(ctx, look, namespace)
	if err != nil || snap == nil {
		return err
	}
	look.depends(v1alpha1.SnapshotKind, namespace, snap.Name, true)
	if look.noTarget(snap) {
		return nil
	}
	look.snapshot = snap
	out := &look.Resolved
	out.Namespace, out.Snapshot, out.SnapshotUID = namespace, snap.Name, snap.UID
	out.Repository.Name = snap.Spec.Repository
	return nil
}

// ignoreRefusal returns nil for a refusal, and err otherwise.
func ignoreRefusal(err error) error {
	if movers.RefusalOf(err) != nil {
		return nil
	}
	return err
}

// chooseSnapshot returns the Snapshot that the data source names, or nil if the Snapshot was refused.
func (r *Reconciler) chooseSnapshot(ctx context.Context, look *lookup, namespace string) (*v1alpha1.Snapshot, error) {
	source := look.session.Spec.DataSource
	if source.PITR == nil && source.Snapshot != v1alpha1.LatestSnapshot {
		return r.namedSnapshot(ctx, look, namespace)
	}
	var list v1alpha1.SnapshotList
	selector := client.MatchingLabels{v1alpha1.LabelRepository: policy.LabelValue(source.Repository)}
	// Read past the cache: a restore right after a backup means that backup.
	if err := r.APIReader.List(ctx, &list, client.InNamespace(namespace), selector); err != nil {
		return nil, fmt.Errorf("list Snapshots of Repository %s: %w", source.Repository, err)
	}
	list.Items = slices.DeleteFunc(list.Items, func(s v1alpha1.Snapshot) bool {
		return s.Spec.Repository != source.Repository
	})
	var moment restore.Before
	which := ""
	if source.PITR != nil && source.PITR.TargetTime != nil {
		moment = restore.Before{At: source.PITR.TargetTime.Time, Exclusive: source.PITR.Exclusive}
		which = " by " + source.PITR.TargetTime.UTC().Format("2006-01-02T15:04:05Z")
	}
	now := run.Latest(r.Clock.Now(), look.session.CreationTimestamp)
	snap, damaged := restore.Latest(list.Items, source.Repository, moment, now)
	look.PassedOver = damaged
	switch {
	case snap != nil && restore.HalfRestoredOf(snap) != "":
		look.refuse(0, v1alpha1.ReasonHalfRestored, "%s",
			restore.HalfRestoredMessage(snap, list.Items, moment, now))
		return nil, nil
	case snap != nil:
		look.HoldsLess = restore.HoldsLess(snap, list.Items, moment, restore.Asks(source.Components, source.Rules), now)
		return snap, nil
	}
	if last := restore.LastWhole(list.Items, moment, now); last != nil {
		look.Error = restore.LastWholeRefusal(last, damaged, which, now)
		return nil, nil
	}
	if damaged != nil {
		look.refuse(0, v1alpha1.ReasonSnapshotDamaged,
			"every successful Snapshot of Repository %s%s is damaged. The newest is %s: %s. To restore what is left "+
				"of it, name it in dataSource.snapshot with dataSource.allowDamaged (cairn restore --allow-damaged)",
			source.Repository, which, damaged.Name, restore.DamageOf(damaged, nil))
		return nil, nil
	}
	return nil, r.noSnapshot(ctx, look, namespace, which, len(list.Items) == 0)
}

// noSnapshot refuses a restore for which its Repository has no successful Snapshot. when limits the time in words, and
// empty reports that it has none at all.
func (r *Reconciler) noSnapshot(ctx context.Context, look *lookup, namespace, when string, empty bool) error {
	source := look.session.Spec.DataSource
	message := fmt.Sprintf("Repository %s has no successful Snapshot%s", source.Repository, when)
	if namespace == look.session.Namespace { // what exists elsewhere is a secret of its namespace
		key := client.ObjectKey{Namespace: namespace, Name: source.Repository}
		var repo v1alpha1.Repository
		err := read.Get(ctx, r.APIReader, key, &repo)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get Repository %s: %w", key, err)
		}
		switch {
		case err != nil && empty:
			message = fmt.Sprintf("there is no Repository %s: correct dataSource.repository", source.Repository)
		case err == nil && !policy.HoldsVolumeSnapshots(&repo):
			message += fmt.Sprintf(". If its backend holds backups that the cluster has lost, bring them back: cairn "+
				"repository scan %s -n %s", source.Repository, namespace)
		}
	}
	look.refuse(0, v1alpha1.ReasonSnapshotNotFound, "%s", message)
	return nil
}

// namedSnapshot reads the Snapshot that the data source names.
func (r *Reconciler) namedSnapshot(ctx context.Context, look *lookup, namespace string) (*v1alpha1.Snapshot, error) {
	source, snap := look.session.Spec.DataSource, &v1alpha1.Snapshot{}
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: namespace, Name: source.Snapshot}, snap)
	if source.Repository == "" {
		allowed, failed := r.revealed(ctx, look, namespace, snap, err)
		if failed != nil || !allowed {
			return nil, failed
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		look.depends(v1alpha1.SnapshotKind, namespace, source.Snapshot, false)
		look.refuse(0, v1alpha1.ReasonSnapshotNotFound, "there is no Snapshot %s. If the cluster has lost it, "+
			"cairn repository scan brings it back from the backend of its Repository", source.Snapshot)
	case err != nil:
		return nil, fmt.Errorf("get Snapshot %s: %w", source.Snapshot, err)
	case v1alpha1.HasRecordAnnotation(snap.Annotations):
		look.refuse(0, v1alpha1.ReasonSnapshotNotFound, "Snapshot %s is a record, not a Snapshot", source.Snapshot)
	case source.Repository != "" && source.Repository != snap.Spec.Repository:
		look.refuse(0, v1alpha1.ReasonSnapshotNotFound, "Snapshot %s is not in Repository %s", snap.Name,
			source.Repository)
	case snap.Status.Phase != v1alpha1.SnapshotSucceeded:
		look.refuse(0, v1alpha1.ReasonSnapshotNotFound, "Snapshot %s did not succeed: its phase is %q", snap.Name,
			snap.Status.Phase)
	default:
		look.Error = restore.DamageRefusal(snap, source)
		if look.Error == nil {
			look.Error = restore.DeletionRefusal(snap, source, ofBatch(look.session))
		}
		if look.Error == nil {
			return snap, nil
		}
	}
	return nil, nil
}

// revealed reports whether the restore may learn what reading the named Snapshot gave: snap or err. Otherwise it
// refuses the restore: whether a Snapshot of another namespace exists, and how it is, is a secret there.
func (r *Reconciler) revealed(
	ctx context.Context, look *lookup, namespace string, snap *v1alpha1.Snapshot, err error,
) (bool, error) {
	to := look.session.Namespace
	if namespace == to || err != nil && !apierrors.IsNotFound(err) {
		return true, nil
	}
	if err == nil {
		err = r.consent(ctx, to, namespace, snap.Spec.Repository)
		if err == nil || movers.RefusalOf(err) == nil {
			return err == nil, err
		}
	}
	look.depends(v1alpha1.SnapshotKind, namespace, look.session.Spec.DataSource.Snapshot, false)
	look.refuse(0, v1alpha1.ReasonRestoreNotAllowed,
		"namespace %s has no Snapshot %s whose Repository allows namespace %s to restore it: its owner must annotate "+
			"the Repository with %s=%s", namespace, look.session.Spec.DataSource.Snapshot, to,
		v1alpha1.AnnotationRestoreTo, to)
	return false, nil
}

// ofBatch reports whether a RestoreBatch made the restore. The RestoreBatch has held the Snapshot since before it chose
// it: see retention.InUse.
func ofBatch(s *v1alpha1.RestoreSession) bool {
	owner := metav1.GetControllerOf(s)
	return owner != nil && owner.Kind == v1alpha1.RestoreBatchKind &&
		owner.APIVersion == v1alpha1.GroupVersion.String()
}

// consent returns an error if a namespace is not allowed to restore from a Repository of another namespace. The error
// is the same if the Repository does not exist.
func (r *Reconciler) consent(ctx context.Context, to, from, repository string) error {
	if to == from {
		return nil
	}
	var repo v1alpha1.Repository
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: from, Name: repository}, &repo)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get Repository %s/%s: %w", from, repository, err)
	}
	if err == nil && policy.AllowsRestoreTo(&repo, to) {
		return nil
	}
	return movers.Refuse(v1alpha1.ReasonRestoreNotAllowed,
		"namespace %s is not allowed to restore from Repository %s/%s: its owner must annotate it with %s=%s", to, from,
		repository, v1alpha1.AnnotationRestoreTo, to)
}

// findRepository freezes the Repository of the Snapshot.
func (r *Reconciler) findRepository(ctx context.Context, look *lookup) error {
	if look.snapshot == nil {
		return nil
	}
	key := client.ObjectKey{Namespace: look.Resolved.Namespace, Name: look.Resolved.Repository.Name}
	repo, refusal, wait, err := read.RestoredRepository(ctx, r.Client, key)
	if err != nil {
		return err
	}
	look.depends(v1alpha1.RepositoryKind, key.Namespace, key.Name, repo != nil)
	if refusal != nil {
		look.Error, look.Wait = refusal, wait
		return nil
	}
	look.Resolved.Repository = read.ResolveRepository(repo, look.session.Spec.DataSource.EncryptionSecret,
		look.session.Namespace)
	return nil
}
