package restoresession

import (
	"context"
	"fmt"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/borrowed"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// findEarlierClaims looks for claims that an identical earlier restore created and left to their first pods. The
// restore is done once all these claims have their volumes; until then nothing is created again.
func (r *Reconciler) findEarlierClaims(ctx context.Context, look *lookup, plan []destination.PlannedClaim) error {
	unbound := ""
	for _, p := range plan {
		i := slices.IndexFunc(look.claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == p.Claim })
		if i < 0 || look.claims[i].Annotations[v1alpha1.AnnotationMade] == "" ||
			volumesnapshot.SourceOf(&look.claims[i]) == "" {
			return nil
		}
		claim := &look.claims[i]
		source, err := r.snapshotUID(ctx, claim.Namespace, volumesnapshot.SourceOf(claim))
		if err != nil {
			return err
		}
		if !restore.MadeByIdenticalRestore(claim, source, look.identical) {
			return nil
		}
		volume, err := read.VolumeOf(ctx, r.APIReader, claim)
		if err != nil {
			return err
		}
		if wrong := volumesnapshot.WrongVolume(claim, volume); wrong != "" {
			look.refuse(0, v1alpha1.ReasonWrongVolume, "%s", wrong)
			return nil
		}
		if claim.Status.Phase != corev1.ClaimBound && unbound == "" {
			unbound = restore.UnboundMessage(claim.Name)
		}
	}
	look.Unbound, look.AlreadyRestored = unbound, unbound == "" && len(plan) > 0
	return nil
}

// observeClaims adds the claims that a restore creates from VolumeSnapshots, if one of its Jobs has ended and so can
// have created some.
func (r *Reconciler) observeClaims(ctx context.Context, in *restore.Input) error {
	s := in.Session
	ended := false
	for _, job := range in.Jobs {
		ended = ended || job.Result != nil || job.Finished || job.State == observe.StateFailed
	}
	if !ended || !restore.ProvisionsClaims(s.Status.Resolved) {
		return nil
	}
	in.Claims = map[string]restore.ObservedClaim{}
	for i := range s.Status.Resolved.Hosts {
		h := &s.Status.Resolved.Hosts[i]
		for j := range h.Volumes {
			v := &h.Volumes[j]
			if s.Status.Components[v.Component].Phase.Terminal() {
				continue
			}
			made, err := r.provisionedClaim(ctx, s, v)
			if err != nil {
				return err
			}
			in.Claims[v.ClaimName] = made
		}
	}
	return nil
}

// provisionedClaim returns the state of one claim that the restore creates.
func (r *Reconciler) provisionedClaim(
	ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume,
) (restore.ObservedClaim, error) {
	claim, err := r.claim(ctx, s.Namespace, v.ClaimName)
	if err != nil {
		return restore.ObservedClaim{}, err
	}
	source, err := r.snapshotUID(ctx, s.Namespace, v.Provision.VolumeSnapshot)
	if err != nil {
		return restore.ObservedClaim{}, err
	}
	var volume *corev1.PersistentVolume
	if claim != nil {
		if volume, err = read.VolumeOf(ctx, r.APIReader, claim); err != nil {
			return restore.ObservedClaim{}, err
		}
	}
	made := restore.ObserveClaim(s, v, claim, source, volume)
	if claim != nil && made.Wrong == "" && !made.Bound {
		made.Warning, err = read.LastEvent(ctx, r.APIReader, claim,
			client.MatchingFields{"type": corev1.EventTypeWarning})
	}
	return made, err
}

// snapshotUID returns the UID of a VolumeSnapshot, read past the cache. It returns "" if the VolumeSnapshot does not
// exist.
func (r *Reconciler) snapshotUID(ctx context.Context, namespace, name string) (types.UID, error) {
	found := &snapshotv1.VolumeSnapshot{}
	if err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, found); err != nil &&
		!borrowed.NotFoundOrNoKind(err) {
		return "", fmt.Errorf("get VolumeSnapshot %s: %w", name, err)
	}
	return found.UID, nil
}
