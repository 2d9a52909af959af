package restoresession

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// checkPrefix begins the generated name of an object that is only validated by a dry run.
const checkPrefix = "cairn-check-"

// replaceable returns an error if a claim that is to be replaced could be lost: two claims can't have one name, so the
// old claim goes before the new one exists. It first checks everything that can prevent the new claim. It creates and
// deletes nothing.
func (r *Reconciler) replaceable(
	ctx context.Context, s *v1alpha1.RestoreSession, in moverjob.VolumeRestoreInput, job *batchv1.Job,
) error {
	claims, err := in.Claims()
	if err != nil {
		return err
	}
	asked := false
	for i := range in.Host.Volumes {
		v := &in.Host.Volumes[i]
		old, err := r.claim(ctx, s.Namespace, v.ClaimName)
		if err != nil {
			return err
		}
		if !destination.Replaces(v, old) {
			continue
		}
		asked = true
		if err := r.makeable(ctx, s, v); err != nil {
			return err
		}
		if err := r.tryCreate(ctx, claims[i].DeepCopy(), v1alpha1.ReasonInvalidParameters); err != nil {
			return err
		}
	}
	if !asked {
		return nil
	}
	if err := r.tryCreate(ctx, job.DeepCopy(), v1alpha1.ReasonInvalidTask); err != nil {
		return err
	}
	return r.room(ctx, s)
}

// makeable returns an error if the VolumeSnapshot of a volume can no longer become a claim.
func (r *Reconciler) makeable(
	ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) error {
	found, err := r.volumeSnapshot(ctx, s.Namespace, v.Provision.VolumeSnapshot)
	if err != nil {
		return err
	}
	class := &storagev1.StorageClass{}
	name := ptr.Deref(v.Provision.StorageClassName, "")
	if err := read.Get(ctx, r.APIReader, client.ObjectKey{Name: name}, class); apierrors.IsNotFound(err) {
		class = nil
	} else if err != nil {
		return fmt.Errorf("get StorageClass %s: %w", name, err)
	}
	if refusal := destination.WhyNotMakeable(v, found, class); refusal != nil {
		return movers.Refuse(refusal.Reason, "%s: PersistentVolumeClaim %s stays", refusal.Message, v.ClaimName)
	}
	return nil
}

// tryCreate returns an error if the API server would refuse an object, whatever its name: a dry run asks admission, and
// nothing is created. It ignores a quota for claims, because the old claim can hold the room.
func (r *Reconciler) tryCreate(ctx context.Context, o client.Object, reason string) error {
	name := o.GetName()
	o.SetName("")
	o.SetGenerateName(checkPrefix)
	err := r.Create(ctx, o, client.DryRunAll, client.FieldOwner(access.FieldManager))
	_, isJob := o.(*batchv1.Job)
	switch {
	case err == nil, apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		return nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		if isJob {
			return movers.Refuse(v1alpha1.ReasonQuotaExceeded,
				"no claim was deleted, because the API server would refuse the Job of the new claims: %v", err)
		}
		return nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return movers.Refuse(reason, "the API server would refuse %s, so the object that it replaces stays: %v",
			name, err)
	default:
		return fmt.Errorf("dry-run creation of %s: %w", name, err)
	}
}

// room returns an error if a quota of the namespace has no room for the claims that a restore still creates, once the
// claims that they replace are gone.
func (r *Reconciler) room(ctx context.Context, s *v1alpha1.RestoreSession) error {
	var quotas corev1.ResourceQuotaList
	if err := r.APIReader.List(ctx, &quotas, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list ResourceQuotas: %w", err)
	}
	if len(quotas.Items) == 0 {
		return nil
	}
	var goes, comes []*corev1.PersistentVolumeClaim
	for i := range s.Status.Resolved.Hosts {
		in := moverjob.VolumeRestoreInput{Templates: destination.ClaimTemplates(s)}
		in.Session, in.Host = s, s.Status.Resolved.Hosts[i]
		claims, err := in.Claims()
		if err != nil {
			return err
		}
		for j, claim := range claims {
			there, err := r.claim(ctx, s.Namespace, claim.Name)
			if err != nil {
				return err
			}
			if there != nil && types.UID(there.Annotations[v1alpha1.AnnotationRestoreSession]) == s.UID &&
				there.DeletionTimestamp == nil {
				continue // The claim exists already.
			}
			comes = append(comes, claim)
			if there != nil && there.UID == in.Host.Volumes[j].Provision.Replaces {
				goes = append(goes, there)
			}
		}
	}
	if refusal := destination.CheckQuotas(quotas.Items, goes, comes); refusal != nil {
		return movers.Refuse(refusal.Reason, "%s", refusal.Message)
	}
	return nil
}

// terminatingSince returns since when a claim is being deleted. A deletion that is still to come was dated by a clock
// that was ahead, or the manager is behind: then it is when the manager saw it first, which it writes on the claim.
func (r *Reconciler) terminatingSince(
	ctx context.Context, claim *corev1.PersistentVolumeClaim,
) (time.Time, error) {
	at, now := claim.DeletionTimestamp.Time, r.Clock.Now()
	if !v1alpha1.Ahead(at, now) {
		return at, nil
	}
	seen, err := time.Parse(time.RFC3339, claim.Annotations[v1alpha1.AnnotationTerminating])
	if err == nil && !v1alpha1.Ahead(seen, now) {
		return seen, nil
	}
	before := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, v1alpha1.AnnotationTerminating, now.UTC().Format(time.RFC3339))
	return now, client.IgnoreNotFound(r.writer().Object(ctx, before, claim))
}
