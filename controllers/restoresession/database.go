package restoresession

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// findDatabase looks for a target that is a database. The restore waits for a database that is not ready.
func (r *Reconciler) findDatabase(ctx context.Context, look *lookup) error {
	if mistakes := catalog.DatabaseRestoreMistakes("spec", &look.session.Spec); len(mistakes) > 0 {
		look.TargetFound = true
		look.refuse(0, mistakes[0].Reason, "%s", (&policy.InvalidError{Mistakes: mistakes}).Error())
		return nil
	}
	ref := look.session.Spec.Target
	found, refusal, err := read.FindDatabase(ctx, r.APIReader, look.session.Namespace, *ref,
		catalog.RestoreParams(look.session.Spec.Addon), look.target.Pods)
	if err != nil {
		return err
	}
	if refusal != nil {
		look.Error, look.TargetFound = refusal, refusal.Reason != v1alpha1.ReasonTargetNotFound
		if refusal.Reason == v1alpha1.ReasonTargetNotFound || refusal.Reason == v1alpha1.ReasonTargetNotReady {
			look.Wait = waitForTarget
		}
		return nil
	}
	look.database = found
	look.TargetFound, look.Resolved.TargetUID = true, found.UID()
	filled, mark, err := read.DatabaseFilled(ctx, r.APIReader, look.session.Namespace, found, look.claims,
		look.identical)
	if mark == nil || err != nil {
		return err
	}
	look.AlreadyRestored = filled
	if !look.AlreadyRestored {
		look.Error = restore.ConfirmationOf(look.session).Used("Lease "+mark.Name, mark.Annotations)
	}
	return nil
}

// mark returns the Lease of a database, or nil: see read.DatabaseMark.
func (r *Reconciler) mark(ctx context.Context, namespace string, target types.UID) (*coordinationv1.Lease, error) {
	return read.DatabaseMark(ctx, r.APIReader, namespace, target)
}

// intoDatabase reports whether a frozen restore writes into a database.
func intoDatabase(resolved *v1alpha1.ResolvedRestore) bool { return resolved.Task.Database != nil }

// usableDatabase returns an error that says why a database must not be written to now. With take, it reserves the
// database for this restore.
func (r *Reconciler) usableDatabase(
	ctx context.Context, s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore,
	restores []v1alpha1.RestoreSession, take bool,
) error {
	target, refusal, err := read.DatabaseObject(ctx, r.APIReader, s.Namespace, *s.Spec.Target)
	switch {
	case err != nil && take:
		return movers.NotLookedUp(err)
	case err != nil:
		return err
	case refusal != nil || target.GetUID() != resolved.TargetUID:
		return movers.Refuse(v1alpha1.ReasonTargetNotFound, "%s was deleted", s.Spec.Target)
	}
	mark, err := r.mark(ctx, s.Namespace, resolved.TargetUID)
	if err != nil {
		return err
	}
	other := restore.RestoreIntoDatabase(restores, resolved.TargetUID, resolved.Task.Database, s.UID)
	if take {
		holder := ""
		if mark != nil {
			holder = mark.Annotations[v1alpha1.AnnotationRestoring]
		}
		other = restore.DatabaseBlockedBy(restores, s, resolved, holder)
	}
	if other != nil {
		return movers.Refuse(v1alpha1.ReasonRestoreInProgress, "RestoreSession %s writes into %s", other.Name,
			s.Spec.Target)
	}
	if err := r.undumped(ctx, s, resolved.Task.Database); err != nil || !take {
		return err
	}
	if mark == nil {
		return r.makeMark(ctx, s, target)
	}
	if used := restore.UsedByAnother(s, "Lease "+mark.Name, mark.Annotations); used != nil {
		return movers.Refuse(used.Reason, "%s", used.Message)
	}
	return movers.Unchanged("Lease "+mark.Name, r.writeMark(ctx, mark, func(annotations map[string]string) {
		restore.Take(annotations, s, resolved.TargetUID)
	}))
}

// makeMark creates the Lease of a database. The Lease goes with the object that stands for the database. If two
// restores try at the same time, one gets a conflict and looks again.
func (r *Reconciler) makeMark(ctx context.Context, s *v1alpha1.RestoreSession, target client.Object) error {
	gvk, err := r.GroupVersionKindFor(target)
	if err != nil {
		return fmt.Errorf("get kind of %s: %w", target.GetName(), err)
	}
	mark := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.Namespace, Name: read.DatabaseMarkName(target.GetUID()),
		Labels:      map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
		Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: target.GetName(), UID: target.GetUID(),
		}},
	}}
	restore.Take(mark.Annotations, s, target.GetUID())
	err = r.Create(ctx, mark, client.FieldOwner(r.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		return apierrors.NewConflict(coordinationv1.Resource("leases"), mark.Name, err)
	}
	if err != nil {
		return movers.AsDenial(fmt.Errorf("create Lease %s: %w", mark.Name, err))
	}
	return nil
}

// writeMark changes the annotations of the mark.
func (r *Reconciler) writeMark(
	ctx context.Context, mark *coordinationv1.Lease, change func(annotations map[string]string),
) error {
	before := mark.DeepCopy()
	if mark.Annotations == nil {
		mark.Annotations = map[string]string{}
	}
	change(mark.Annotations)
	return r.writer().Object(ctx, before, mark)
}

// stampDatabase marks a database as filled by the restore.
func (r *Reconciler) stampDatabase(ctx context.Context, s *v1alpha1.RestoreSession) error {
	mark, err := r.mark(ctx, s.Namespace, s.Status.Resolved.TargetUID)
	if err != nil || mark == nil || !restore.Holds(mark.Annotations, s.UID) {
		return err // The Lease went with its database, or another restore writes into it by now.
	}
	volumes, err := r.volumesOfDatabase(ctx, s)
	if err != nil {
		return err
	}
	stamp := restore.Stamp{
		Digest: s.Status.Resolved.SpecDigest, Target: s.Status.Resolved.TargetUID, Volume: volumes, Claims: 1,
		Name: s.Name,
	}
	return movers.Unchanged("Lease "+mark.Name, client.IgnoreNotFound(r.writeMark(ctx, mark, func(a map[string]string) {
		a[v1alpha1.AnnotationRestored] = stamp.String()
	})))
}

// volumesOfDatabase identifies what holds the data of the database that a restore has filled. It returns "" if that is
// unknown, or if the database can't be found now: the stamp then proves nothing, and an identical restore looks at the
// database itself.
func (r *Reconciler) volumesOfDatabase(ctx context.Context, s *v1alpha1.RestoreSession) (string, error) {
	namespace := client.InNamespace(s.Namespace)
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, namespace); err != nil {
		return "", fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, namespace); err != nil {
		return "", fmt.Errorf("list Pods: %w", err)
	}
	found, refusal, err := read.FindDatabase(ctx, r.APIReader, s.Namespace, *s.Spec.Target,
		catalog.RestoreParams(s.Spec.Addon), pods.Items)
	if err != nil || refusal != nil {
		return "", err
	}
	return restore.VolumesOfDatabase(found.Location.Pod, claims.Items), nil
}

// releaseDatabase gives back the database of a restore that ends with status.
func (r *Reconciler) releaseDatabase(
	ctx context.Context, s *v1alpha1.RestoreSession, status *v1alpha1.RestoreSessionStatus,
) error {
	mark, err := r.mark(ctx, s.Namespace, s.Status.Resolved.TargetUID)
	if err != nil || mark == nil || !restore.Holds(mark.Annotations, s.UID) {
		return err
	}
	target := s.Status.Resolved.TargetUID
	earlier, err := r.earlier(ctx, s, mark.Annotations, target)
	if err != nil {
		return err
	}
	return movers.Unchanged("Lease "+mark.Name, client.IgnoreNotFound(r.writeMark(ctx, mark, func(a map[string]string) {
		restore.Release(a, s, earlier, status, "", target)
	})))
}
