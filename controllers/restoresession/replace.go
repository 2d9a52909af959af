package restoresession

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/access"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/session/movers"
	"github.com/cairn-backup/cairn/internal/task"
)

// checkPrefix begins the name under which it is asked whether an object would be taken.
const checkPrefix = "cairn-check-"

// replaceable is an error where a claim that is to be replaced might be lost: two can't have one name, so the old one goes before the
// new one is there. All that can stand in the way of that is asked first; nothing is made or deleted here.
func (r *Reconciler) replaceable(ctx context.Context, s *v1alpha1.RestoreSession, in task.VolumeRestoreInput, job *batchv1.Job) error {
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
		if !session.Replaces(v, old) {
			continue
		}
		asked = true
		if err := r.makeable(ctx, s, v); err != nil {
			return err
		}
		if err := r.taken(ctx, claims[i].DeepCopy(), v1alpha1.ReasonInvalidParameters); err != nil {
			return err
		}
	}
	if !asked {
		return nil
	}
	if err := r.taken(ctx, job.DeepCopy(), v1alpha1.ReasonInvalidTask); err != nil {
		return err
	}
	return r.room(ctx, s)
}

// makeable is an error where no claim can be made of the VolumeSnapshot of a volume any more.
func (r *Reconciler) makeable(ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume) error {
	found, err := r.volumeSnapshot(ctx, s.Namespace, v.Provision.VolumeSnapshot)
	if err != nil {
		return err
	}
	class := &storagev1.StorageClass{}
	name := ptr.Deref(v.Provision.StorageClassName, "")
	if err := lifecycle.Get(ctx, r.APIReader, client.ObjectKey{Name: name}, class); apierrors.IsNotFound(err) {
		class = nil
	} else if err != nil {
		return fmt.Errorf("get storage class %s: %w", name, err)
	}
	if refusal := session.Makeable(v, found, class); refusal != nil {
		return movers.Refuse(refusal.Reason, "%s: PersistentVolumeClaim %s stays", refusal.Message, v.ClaimName)
	}
	return nil
}

// taken is an error where the API server would not take an object, whatever its name: admission answers, and nothing is made. What a
// quota says is not asked here, for the old claim may take the room.
func (r *Reconciler) taken(ctx context.Context, o client.Object, reason string) error {
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
			return movers.Refuse(v1alpha1.ReasonQuotaExceeded, "nothing was deleted for the new claims, because their Job would not be taken: %v", err)
		}
		return nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return movers.Refuse(reason, "the API server would not take %s, so what it replaces stays: %v", name, err)
	default:
		return fmt.Errorf("ask whether %s would be taken: %w", name, err)
	}
}

// room is an error where a quota of the namespace has no room for the claims that a restore still makes, once those are gone that they
// replace.
func (r *Reconciler) room(ctx context.Context, s *v1alpha1.RestoreSession) error {
	var quotas corev1.ResourceQuotaList
	if err := r.APIReader.List(ctx, &quotas, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("list resource quotas: %w", err)
	}
	if len(quotas.Items) == 0 {
		return nil
	}
	var goes, comes []*corev1.PersistentVolumeClaim
	for i := range s.Status.Resolved.Hosts {
		in := task.VolumeRestoreInput{Templates: session.ClaimTemplates(s)}
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
			if there != nil && types.UID(there.Annotations[v1alpha1.AnnotationRestoreSession]) == s.UID && there.DeletionTimestamp == nil {
				continue // It was made.
			}
			comes = append(comes, claim)
			if there != nil && there.UID == in.Host.Volumes[j].Provision.Replaces {
				goes = append(goes, there)
			}
		}
	}
	if refusal := session.QuotaRoom(quotas.Items, goes, comes); refusal != nil {
		return movers.Refuse(refusal.Reason, "%s", refusal.Message)
	}
	return nil
}
