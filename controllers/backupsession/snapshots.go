package backupsession

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// look is what one look at the Snapshots of a run shares: where it reads them, what was refused before, by the name of
// the Snapshot, and claims of the namespace by name. It reads each claim past the cache once, and only if it makes a
// Snapshot: see claimsByName.
type look struct {
	client.Reader
	refused movers.Refusals
	claims  func(names []string) (map[string]*corev1.PersistentVolumeClaim, error)
}

// snapshots reads the Snapshots of a frozen session and creates the missing ones. If a Snapshot can't be created, it
// adds the reason to refused, by the Snapshot's name. A session that is being cancelled creates none.
func (r *Reconciler) snapshots(
	ctx context.Context, reader client.Reader, s *v1alpha1.BackupSession, refused movers.Refusals,
) (map[string]*v1alpha1.Snapshot, error) {
	found := map[string]*v1alpha1.Snapshot{}
	from := look{reader, refused, r.claimsByName(ctx, s.Namespace)}
	targets := s.Status.Resolved.Targets
	for i := range targets {
		for j := range targets[i].Repositories {
			repo := &targets[i].Repositories[j]
			snap, err := r.snapshotOrRefusal(ctx, from, s, &targets[i], repo)
			refusal := movers.RefusalOf(err)
			if err != nil && refusal == nil {
				return nil, err
			}
			if refusal != nil && refused[repo.Snapshot] == nil {
				refused[repo.Snapshot] = refusal
			}
			if snap != nil {
				found[repo.Snapshot] = snap
			}
		}
	}
	return found, nil
}

// snapshotOrRefusal returns the same as snapshot, and logs a refusal when it is found, once: each look at the target
// finds it again. Before that it looks past the cache, because a cache that is behind can hold an old Snapshot.
func (r *Reconciler) snapshotOrRefusal(
	ctx context.Context, from look, s *v1alpha1.BackupSession, t *v1alpha1.ResolvedTarget,
	repo *v1alpha1.ResolvedRepository,
) (*v1alpha1.Snapshot, error) {
	snap, err := r.snapshot(ctx, from, s, t, repo)
	if refusal := movers.RefusalOf(err); run.CanPass(refusal) {
		movers.LogRefused(ctx, repo.Snapshot, refusal)
		return snap, err
	}
	if movers.RefusalOf(err) == nil || run.TargetEnded(s, t.Name) || r.refused.Has(s.UID, repo.Snapshot) {
		return snap, err
	}
	snap, err = r.snapshot(ctx, look{r.APIReader, from.refused, from.claims}, s, t, repo)
	if refusal := movers.RefusalOf(err); refusal != nil && r.refused.First(s.UID, repo.Snapshot) {
		movers.LogRefused(ctx, repo.Snapshot, refusal)
	}
	return snap, err
}

// snapshot reads or creates the Snapshot of one target in one repository.
func (r *Reconciler) snapshot(
	ctx context.Context, from look, s *v1alpha1.BackupSession, t *v1alpha1.ResolvedTarget,
	repo *v1alpha1.ResolvedRepository,
) (*v1alpha1.Snapshot, error) {
	want := newSnapshot(s, t, repo)
	snap := &v1alpha1.Snapshot{}
	err := from.Get(ctx, client.ObjectKeyFromObject(want), snap)
	if apierrors.IsNotFound(err) {
		if backup.Listed(s, want.Name) != "" && !run.TargetEnded(s, t.Name) {
			return nil, deletedDuringRun(want.Name)
		}
		if !backup.MayBackUp(s, t.Name, r.Clock.Now()) {
			return nil, nil
		}
		if err := r.checkRepository(ctx, s.Namespace, repo); err != nil {
			return nil, err
		}
		if err := r.pauses.Held(s.UID, r.Clock.Now(), want.Name); err != nil {
			return nil, err
		}
		if refusal := from.refused[want.Name]; refusal != nil { // a try can be slow
			return nil, movers.Refuse(refusal.Reason, "%s", refusal.Message)
		}
		if snap, err = r.makeSnapshot(ctx, from, s, t, want); err != nil {
			return nil, err
		}
	} else if err != nil { // no refusal, also if the right to read is missing: its Jobs can go on
		return nil, fmt.Errorf("get Snapshot %s: %w", want.Name, err)
	}
	if _, rebuilt := snap.Annotations[v1alpha1.AnnotationRebuilt]; rebuilt ||
		snap.Spec.SnapshotID != want.Spec.SnapshotID || v1alpha1.HasRecordAnnotation(snap.Annotations) {
		return nil, movers.Refuse(v1alpha1.ReasonNameConflict, "a Snapshot %s of another run already exists", snap.Name)
	}
	if listed := backup.Listed(s, want.Name); listed != "" && listed != snap.UID && !run.TargetEnded(s, t.Name) {
		return nil, deletedDuringRun(want.Name)
	}
	return snap, nil
}

// makeSnapshot creates a Snapshot like want. If there is another one of its name, it returns that one.
func (r *Reconciler) makeSnapshot(
	ctx context.Context, from look, s *v1alpha1.BackupSession, t *v1alpha1.ResolvedTarget, want *v1alpha1.Snapshot,
) (*v1alpha1.Snapshot, error) {
	snap := want.DeepCopy()
	if err := r.markHalfRestored(ctx, from, s, t, snap); err != nil {
		return nil, movers.NotLookedUp(err)
	}
	err := r.Create(ctx, snap, client.FieldOwner(r.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		other := &v1alpha1.Snapshot{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(want), other); err != nil {
			return nil, fmt.Errorf("get Snapshot %s: %w", want.Name, err)
		}
		return other, nil
	}
	if err != nil {
		return nil, movers.AsDenial(fmt.Errorf("create Snapshot %s: %w", want.Name, err))
	}
	if half := restore.HalfRestoredOf(snap); half != "" {
		r.Event(snap, corev1.EventTypeWarning, v1alpha1.ReasonHalfRestored, halfRestoredMessage(half))
	}
	return snap, nil
}

// snapshotName returns the name of the Snapshot that a run makes in a repository. If a scan has made a Snapshot of that
// name, the run takes another: whoever can write to the backend chooses the names there.
func (r *Reconciler) snapshotName(
	ctx context.Context, s *v1alpha1.BackupSession, repository string,
) (string, error) {
	name := policy.SnapshotName(repository, s.Name)
	var taken v1alpha1.Snapshot
	err := r.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &taken)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get Snapshot %s: %w", name, err)
	}
	if err != nil || !taken.Rebuilt() {
		return name, nil
	}
	return policy.QualifiedSnapshotName(repository, s.Name, s.UID), nil
}

// deletedDuringRun refuses a Snapshot that somebody deleted. Its data can be gone, so it must not be made again and
// filled from what its mover reported.
func deletedDuringRun(name string) error {
	return movers.Refuse(v1alpha1.ReasonSnapshotNotFound, "Snapshot %s was deleted during the run", name)
}

// checkRepository makes sure that the Repository is still the frozen one: it will own the Snapshot.
func (r *Reconciler) checkRepository(ctx context.Context, namespace string, repo *v1alpha1.ResolvedRepository) error {
	var live v1alpha1.Repository
	err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: repo.Name}, &live)
	switch {
	case apierrors.IsNotFound(err), err == nil && (live.UID != repo.UID || !live.DeletionTimestamp.IsZero()):
		return movers.Refuse(v1alpha1.ReasonRepositoryNotReady, "Repository %s was deleted", repo.Name)
	case err != nil:
		return fmt.Errorf("get Repository %s: %w", repo.Name, err)
	default:
		return nil
	}
}

// newSnapshot returns the Snapshot of a target in a repository. It depends on frozen values alone.
func newSnapshot(
	s *v1alpha1.BackupSession, t *v1alpha1.ResolvedTarget, repo *v1alpha1.ResolvedRepository,
) *v1alpha1.Snapshot {
	labels := map[string]string{
		v1alpha1.LabelManagedBy:     v1alpha1.ManagedByCairn,
		v1alpha1.LabelInvokerKind:   s.Spec.Invoker.Kind,
		v1alpha1.LabelInvokerName:   policy.LabelValue(s.Spec.Invoker.Name),
		v1alpha1.LabelSession:       s.Spec.Session,
		v1alpha1.LabelConfiguration: policy.LabelValue(t.Configuration),
		v1alpha1.LabelBackupSession: s.Name,
		v1alpha1.LabelRepository:    policy.LabelValue(repo.Name),
	}
	if s.Spec.Invoker.Kind == v1alpha1.BackupBatchKind {
		labels[v1alpha1.LabelRestorePoint] = s.Name
		labels[v1alpha1.LabelRestorePointUID] = string(s.UID)
		if began := s.Status.Resolved; began.RestorePoint != "" {
			labels[v1alpha1.LabelRestorePoint] = began.RestorePoint
			labels[v1alpha1.LabelRestorePointUID] = string(began.RestorePointUID)
		}
		if labels[v1alpha1.LabelRestorePointUID] == "" { // an earlier version began the point
			delete(labels, v1alpha1.LabelRestorePointUID)
		}
	}
	return &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace,
			Name:      repo.Snapshot,
			// They are removed when the Snapshot is deleted: at once if its data stays.
			Finalizers:  []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
			Labels:      labels,
			Annotations: map[string]string{v1alpha1.AnnotationMovers: run.FirstMovers(repo.Snapshot, t.Hosts)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(
				&metav1.ObjectMeta{Name: repo.Name, UID: repo.UID},
				v1alpha1.GroupVersion.WithKind(v1alpha1.RepositoryKind))},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID:    backup.SnapshotID(backup.SlotOf(s), string(s.UID), repo.Snapshot),
			Repository:    repo.Name,
			Session:       s.Spec.Session,
			BackupSession: s.Name,
			Version:       v1alpha1.SnapshotLayoutVersion,
			AppRef:        t.AppRef,
		},
		Status: v1alpha1.SnapshotStatus{ObservedGeneration: -1},
	}
}

// writeSnapshots writes the Snapshots of a decision: first who is allowed to write into them, then their status.
func (r *Reconciler) writeSnapshots(ctx context.Context, in backup.Input, d backup.Decision) error {
	for _, name := range slices.Sorted(maps.Keys(d.Snapshots)) {
		before := in.Snapshots[name]
		snap := before.DeepCopy()
		if snap.Annotations == nil {
			snap.Annotations = map[string]string{}
		}
		snap.Annotations[v1alpha1.AnnotationMovers] = d.Movers[name]
		if err := r.writer().Object(ctx, before, snap); err != nil {
			return err
		}
		fenced, reasons := run.Fenced(before.Annotations[v1alpha1.AnnotationMovers], d.Movers[name], in.Jobs,
			func(component string) string { return d.Snapshots[name].Components[component].Reason },
			func(component, job string) bool {
				_, known := d.Snapshots[name].Components[component]
				return known && backup.MakesMover(&d.Status, name, component, job)
			})
		movers.LogFenced(ctx, fenced, reasons, "snapshot", klog.KObj(snap))
		before = snap.DeepCopy()
		snap.Status = d.Snapshots[name]
		if err := r.writer().Status(ctx, before, snap); err != nil {
			return err
		}
		skewed := v1alpha1.ConditionClockSkewed
		if conditions.IsTrue(snap, skewed) && !conditions.IsTrue(before, skewed) {
			r.Event(snap, corev1.EventTypeWarning, v1alpha1.ReasonClockSkew, conditions.GetMessage(snap, skewed))
		}
		in.Snapshots[name] = snap // later writes start from this version
	}
	return nil
}
