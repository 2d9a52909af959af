package restoresession

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// claim reads a PersistentVolumeClaim past the cache. It returns nil if the claim does not exist.
func (r *Reconciler) claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	claim := &corev1.PersistentVolumeClaim{}
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: namespace, Name: name}, claim)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get PersistentVolumeClaim %s: %w", name, err)
	default:
		return claim, nil
	}
}

// claimAndVolume reads a claim and its PersistentVolume past the cache. What does not exist is nil.
func (r *Reconciler) claimAndVolume(
	ctx context.Context, namespace, name string,
) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
	claim, err := r.claim(ctx, namespace, name)
	if claim == nil || err != nil {
		return nil, nil, err
	}
	volume, err := read.VolumeOf(ctx, r.APIReader, claim)
	return claim, volume, err
}

// presentClaims reads the claims of a restore's namespace that can be used, past the cache. It reads the volumes only
// where a failed component left something.
func (r *Reconciler) presentClaims(
	ctx context.Context, s *v1alpha1.RestoreSession,
) (map[string]restore.PresentClaim, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := r.APIReader.List(ctx, &claims, client.InNamespace(s.Namespace)); err != nil {
		return nil, fmt.Errorf("list PersistentVolumeClaims: %w", err)
	}
	known := map[string]bool{}
	for _, h := range s.Status.Resolved.Hosts {
		for _, v := range h.Volumes {
			c := s.Status.Components[v.Component]
			known[v.ClaimName] = known[v.ClaimName] || !c.Phase.Terminal() || restore.KnowsVolume(c)
		}
	}
	out := map[string]restore.PresentClaim{}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimLost {
			continue
		}
		now := restore.PresentClaim{UID: claim.UID}
		if known[claim.Name] {
			volume, err := read.VolumeOf(ctx, r.APIReader, claim)
			if err != nil {
				return nil, err
			}
			if volume != nil {
				now.Volume = volume.UID
			}
		}
		out[claim.Name] = now
	}
	return out, nil
}

// errMoverRuns marks a refusal that passes when a mover ends.
var errMoverRuns = errors.New("a mover is at work")

func moverRuns(err error) bool { return errors.Is(err, errMoverRuns) }

// usable returns an error that says why the volumes of a host must not be written to now. With take, it also creates
// the claims that are to be created, and reserves the others for this restore: from then on no other restore writes
// into them.
func (r *Reconciler) usable(
	ctx context.Context, s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore,
	h *v1alpha1.ResolvedRestoreHost,
	take bool,
) error {
	var restores v1alpha1.RestoreSessionList
	if err := r.APIReader.List(ctx, &restores, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list RestoreSessions: %w", err)
	}
	if intoDatabase(resolved) {
		return r.usableDatabase(ctx, s, resolved, restores.Items, take)
	}
	if err := r.unreadByRuns(ctx, s.Namespace, h.Volumes); err != nil {
		return err
	}
	var pods corev1.PodList // read after the backups: a pod can outlive the backup that it belongs to
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	for i := range h.Volumes {
		if err := r.usableClaim(ctx, s, resolved, &h.Volumes[i], restores.Items, pods.Items, take); err != nil {
			return err
		}
	}
	return nil
}

// usableClaim does what usable does for one claim that no backup holds.
func (r *Reconciler) usableClaim(
	ctx context.Context, s *v1alpha1.RestoreSession, resolved *v1alpha1.ResolvedRestore,
	v *v1alpha1.ResolvedRestoreVolume, restores []v1alpha1.RestoreSession, pods []corev1.Pod, take bool,
) error {
	claim, err := r.claim(ctx, s.Namespace, v.ClaimName)
	if err != nil {
		return err
	}
	if claim == nil && v.Template > 0 {
		if !take {
			return nil
		}
		return r.makeClaim(ctx, s, v)
	}
	if refusal := restore.CheckIdentity(s, v, claim); refusal != nil {
		return movers.Refuse(refusal.Reason, "%s", refusal.Message)
	}
	if err := unused(restore.CheckUnused(s, resolved, claim, restores, pods, take)); err != nil || !take {
		return err
	}
	if used := restore.UsedByAnother(s, "PersistentVolumeClaim "+claim.Name, claim.Annotations); used != nil {
		return movers.Refuse(used.Reason, "%s", used.Message)
	}
	return r.take(ctx, s, claim)
}

// unused returns the refusal of a claim that is in use as an error, which passes if a mover uses the claim.
func unused(refusal *v1alpha1.ResolvedError, mover bool) error {
	if refusal == nil {
		return nil
	}
	err := movers.Refuse(refusal.Reason, "%s", refusal.Message)
	if mover {
		return errors.Join(err, errMoverRuns)
	}
	return err
}

// take reserves a claim for this restore. If two restores try at the same time, one gets a conflict and looks again.
func (r *Reconciler) take(ctx context.Context, s *v1alpha1.RestoreSession, claim *corev1.PersistentVolumeClaim) error {
	before := claim.DeepCopy()
	if claim.Annotations == nil {
		claim.Annotations = map[string]string{}
	}
	restore.Take(claim.Annotations, s, claim.UID)
	return movers.Unchanged("PersistentVolumeClaim "+claim.Name, r.writer().Object(ctx, before, claim))
}

// makeClaim creates the claim of a volume from its template.
func (r *Reconciler) makeClaim(
	ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) error {
	all := destination.ClaimTemplates(s)
	if int(v.Template) > len(all) {
		return movers.Refuse(v1alpha1.ReasonInvalidTask, "there is no volumeClaimTemplate %d", v.Template)
	}
	template := all[v.Template-1]
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: v.ClaimName, Labels: maps.Clone(template.Metadata.Labels),
			Annotations: maps.Clone(template.Metadata.Annotations),
		},
		Spec: *template.Spec.DeepCopy(),
	}
	if claim.Annotations == nil {
		claim.Annotations = map[string]string{}
	}
	delete(claim.Annotations, v1alpha1.AnnotationComponent)
	claim.Annotations[v1alpha1.AnnotationRestoreSession] = string(s.UID)
	claim.Annotations[v1alpha1.AnnotationRestoring] = string(s.UID)
	if err := r.Create(ctx, claim, client.FieldOwner(access.FieldManager)); err != nil {
		return movers.AsDenial(fmt.Errorf("create PersistentVolumeClaim %s: %w", claim.Name, err))
	}
	return nil
}

// stamp marks the claims that were filled, before any status reports them. It leaves a claim alone that was deleted or
// recreated in the meantime, and one that the restore no longer holds: a manager whose cache is old could mark it again
// while another restore writes into it.
func (r *Reconciler) stamp(ctx context.Context, s *v1alpha1.RestoreSession) error {
	if intoDatabase(s.Status.Resolved) {
		return r.stampDatabase(ctx, s)
	}
	claims := len(restore.ClaimsOf(s.Status.Resolved.Hosts))
	return r.eachClaim(ctx, s, func(claim *corev1.PersistentVolumeClaim, _ *v1alpha1.ResolvedRestoreVolume) error {
		if !restore.Holds(claim.Annotations, s.UID) {
			return nil
		}
		volume, err := read.VolumeOf(ctx, r.APIReader, claim)
		if err != nil {
			return err
		}
		stamp := restore.Stamp{
			Digest: s.Status.Resolved.SpecDigest, Target: claim.UID, Claims: claims, Name: s.Name,
		}
		if volume != nil {
			stamp.Volume = string(volume.UID)
		}
		claim.Annotations[v1alpha1.AnnotationRestored] = stamp.String()
		return nil
	})
}

// stampMade marks, like stamp, the claims that were created and left to their first pods.
func (r *Reconciler) stampMade(ctx context.Context, s *v1alpha1.RestoreSession) error {
	return r.eachClaim(ctx, s, func(claim *corev1.PersistentVolumeClaim, v *v1alpha1.ResolvedRestoreVolume) error {
		claim.Annotations[v1alpha1.AnnotationMade] = restore.FormatMade(s, v, claim.UID)
		return nil
	})
}

// release gives back the claims of a restore that ends with status.
func (r *Reconciler) release(
	ctx context.Context, s *v1alpha1.RestoreSession, status *v1alpha1.RestoreSessionStatus,
) error {
	if intoDatabase(s.Status.Resolved) {
		return r.releaseDatabase(ctx, s, status)
	}
	return r.eachClaim(ctx, s, func(claim *corev1.PersistentVolumeClaim, _ *v1alpha1.ResolvedRestoreVolume) error {
		earlier, err := r.earlier(ctx, s, claim.Annotations, claim.UID)
		if err == nil {
			restore.Release(claim.Annotations, s, earlier, status, claim.Name, claim.UID)
		}
		return err
	})
}

// earlier returns the other restore that has left a claim, or a database, half restored. It returns nil if there is
// none, or if it is gone.
func (r *Reconciler) earlier(
	ctx context.Context, s *v1alpha1.RestoreSession, annotations map[string]string, target types.UID,
) (*v1alpha1.RestoreSession, error) {
	name, by := restore.HalfRestoredBy(annotations, target)
	if by == "" || by == s.UID {
		return nil, nil
	}
	other := &v1alpha1.RestoreSession{}
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: s.Namespace, Name: name}, other)
	if apierrors.IsNotFound(err) || err == nil && other.UID != by {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get RestoreSession %s: %w", name, err)
	}
	return other, nil
}

// eachClaim changes the metadata of the claims that a frozen restore works with. It goes on after a claim that the API
// server does not let it change, and returns a refusal that can pass for all of them.
func (r *Reconciler) eachClaim(
	ctx context.Context, s *v1alpha1.RestoreSession,
	change func(*corev1.PersistentVolumeClaim, *v1alpha1.ResolvedRestoreVolume) error,
) error {
	var refused []string
	var first error
	for _, h := range s.Status.Resolved.Hosts {
		for i := range h.Volumes {
			claim, err := r.claim(ctx, s.Namespace, h.Volumes[i].ClaimName)
			if err != nil {
				return err
			}
			if claim == nil || restore.CheckIdentity(s, &h.Volumes[i], claim) != nil {
				continue
			}
			before := claim.DeepCopy()
			if err := change(claim, &h.Volumes[i]); err != nil {
				return err
			}
			err = client.IgnoreNotFound(r.writer().Object(ctx, before, claim))
			switch {
			case err == nil:
			case movers.Denied(err):
				first, refused = cmp.Or(first, err), append(refused, claim.Name)
			default:
				return err
			}
		}
	}
	return movers.Unchanged("PersistentVolumeClaim "+text.FirstFew(refused), first)
}
