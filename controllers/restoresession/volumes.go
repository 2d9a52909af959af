package restoresession

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/session"
	"github.com/cairn-backup/cairn/internal/session/lifecycle"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// noTarget refuses a target for a Snapshot that is kept as VolumeSnapshots: only new volumes are made of these.
func (s *search) noTarget(snap *v1alpha1.Snapshot) bool {
	if s.session.Spec.Target == nil || !session.FromVolumeSnapshots(snap) {
		return false
	}
	s.refuse(0, v1alpha1.ReasonInvalidParameters,
		"Snapshot %s is kept as VolumeSnapshots, and these become new volumes: leave target out, and name task %s of %s with targetVolumes.volumeClaimTemplates. The annotation %s on a template has a claim that exists deleted for the new one",
		snap.Name, policy.VolumeRestoreTask, policy.VolumeAddon, v1alpha1.AnnotationReplace)
	return true
}

// misfit refuses a task that does not fit what is restored.
func (s *search) misfit() bool {
	provisions := s.Resolved.Task.Driver == v1alpha1.DriverVolumeSnapshotter
	kept := s.snapshot == nil || session.FromVolumeSnapshots(s.snapshot)
	switch {
	case kept && !provisions:
		what := "the templates name VolumeSnapshots"
		if s.snapshot != nil {
			what = "Snapshot " + s.snapshot.Name + " is kept as VolumeSnapshots"
		}
		s.refuse(0, v1alpha1.ReasonInvalidTask, "%s: name task %s of %s", what, policy.VolumeRestoreTask, policy.VolumeAddon)
	case provisions && !kept:
		s.refuse(0, v1alpha1.ReasonInvalidTask, "task %s of Addon %s makes volumes of VolumeSnapshots, and Snapshot %s is not kept as these: name task %s",
			s.Resolved.Task.Task, s.Resolved.Task.Addon, s.snapshot.Name, policy.RestoreTask)
	case provisions && s.session.Spec.Target != nil:
		s.refuse(0, v1alpha1.ReasonInvalidTask, "task %s of Addon %s makes new volumes: leave target out, and write targetVolumes.volumeClaimTemplates", s.Resolved.Task.Task, s.Resolved.Task.Addon)
	case provisions && s.session.Spec.Verify:
		s.refuse(0, v1alpha1.ReasonInvalidParameters, "verify reads files back, and the storage system makes volumes of VolumeSnapshots: leave it out")
	default:
		return false
	}
	return true
}

// resolveClaims says which claims are made of which VolumeSnapshots, and whether that can be done now.
func (r *Reconciler) resolveClaims(ctx context.Context, look *search) error {
	plan, refusal := session.PlanClaims(look.target, session.Replicas(look.session))
	if look.Error = refusal; refusal != nil {
		return nil
	}
	if look.AlreadyRestored = look.planStamped(plan); look.AlreadyRestored {
		return nil
	}
	if err := r.findMade(ctx, look, plan); err != nil || look.Error != nil || look.AlreadyRestored || look.Unbound != "" {
		return err
	}
	known, err := r.provisioning(ctx, look, plan)
	if err != nil || look.Error != nil {
		return err
	}
	if look.Resolved.Hosts, look.Error = session.ResolveClaims(look.target, plan, known); look.Error != nil {
		switch look.Error.Reason {
		case v1alpha1.ReasonVolumeSnapshotNotReady:
			look.Wait = waitForMover
		case v1alpha1.ReasonVolumeSnapshotNotFound:
			if look.snapshot == nil {
				look.Wait = waitForTarget
			}
		}
		return nil
	}
	if look.Error = session.ReplaceClaims(look.Resolved.Hosts, look.target); look.Error != nil && look.Error.Reason == v1alpha1.ReasonVolumeInUse {
		look.Wait = waitForTarget // who restores has just scaled it down
	}
	return nil
}

// planStamped says whether all claims that are planned were filled by an equal restore.
func (s *search) planStamped(plan []session.PlannedClaim) bool {
	filled := map[string]bool{}
	for i := range s.claims {
		filled[s.claims[i].Name] = s.stamped(&s.claims[i])
	}
	for _, p := range plan {
		if !filled[p.Claim] {
			return false
		}
	}
	return len(plan) > 0
}

// findMade looks for what an equal restore made and left to its first pods: that is done once all these claims have their volumes, and
// not to be made again before.
func (r *Reconciler) findMade(ctx context.Context, look *search, plan []session.PlannedClaim) error {
	unbound := ""
	for _, p := range plan {
		i := slices.IndexFunc(look.claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == p.Claim })
		if i < 0 || look.claims[i].Annotations[v1alpha1.AnnotationMade] == "" || look.claims[i].Spec.DataSource == nil {
			return nil
		}
		claim := &look.claims[i]
		source := &snapshotv1.VolumeSnapshot{}
		err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: claim.Namespace, Name: claim.Spec.DataSource.Name}, source)
		if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return fmt.Errorf("get volume snapshot %s: %w", claim.Spec.DataSource.Name, err)
		}
		if !session.MadeBefore(claim, look.Resolved.SpecDigest, source.UID) {
			return nil
		}
		volume, err := lifecycle.VolumeOf(ctx, r.APIReader, claim)
		if err != nil {
			return err
		}
		if wrong := volumesnapshot.WrongVolume(claim, volume); wrong != "" {
			look.refuse(0, v1alpha1.ReasonWrongVolume, "%s", wrong)
			return nil
		}
		if claim.Status.Phase != corev1.ClaimBound && unbound == "" {
			unbound = fmt.Sprintf("PersistentVolumeClaim %s was made by an equal restore before, and gets its volume when a pod mounts it: the parameter bind says that the restore does not", claim.Name)
		}
	}
	look.Unbound, look.AlreadyRestored = unbound, unbound == "" && len(plan) > 0
	return nil
}

// provisioning reads what planned claims are made of, past the cache, which has none of it.
func (r *Reconciler) provisioning(ctx context.Context, look *search, plan []session.PlannedClaim) (session.Provisioning, error) {
	namespace := sourceNamespace(look.session)
	bind, err := strconv.ParseBool(session.Argument(look.Resolved.Task, "--bind"))
	known := session.Provisioning{
		Restore: look.session.UID, Elsewhere: namespace != look.session.Namespace, Bind: err != nil || bind, Snapshots: map[string]session.KnownSnapshot{},
	}
	var classes storagev1.StorageClassList
	if err := r.APIReader.List(ctx, &classes); err != nil {
		return known, fmt.Errorf("list storage classes: %w", err)
	}
	known.StorageClasses = classes.Items
	for _, p := range plan {
		if _, read := known.Snapshots[p.VolumeSnapshot]; read {
			continue
		}
		found, err := r.volumeSnapshot(ctx, namespace, p.VolumeSnapshot)
		if meta.IsNoMatchError(err) {
			look.refuse(0, v1alpha1.ReasonVolumeSnapshotsNotSupported, "the cluster has no kind VolumeSnapshot: install the snapshot controller of the CSI project and its CRDs")
			return known, nil
		}
		if err != nil {
			return known, err
		}
		if found.Snapshot != nil && namespace == look.session.Namespace {
			of := ptr.Deref(found.Snapshot.Spec.Source.PersistentVolumeClaimName, "")
			for i := range look.claims {
				if look.claims[i].Name == of {
					found.Claim = &look.claims[i]
				}
			}
		}
		known.Snapshots[p.VolumeSnapshot] = found
	}
	return known, nil
}

// volumeSnapshot reads a VolumeSnapshot and the content that is bound to it.
func (r *Reconciler) volumeSnapshot(ctx context.Context, namespace, name string) (session.KnownSnapshot, error) {
	var out session.KnownSnapshot
	s := &snapshotv1.VolumeSnapshot{}
	err := lifecycle.Get(ctx, r.APIReader, client.ObjectKey{Namespace: namespace, Name: name}, s)
	switch {
	case apierrors.IsNotFound(err):
		return out, nil
	case err != nil:
		return out, fmt.Errorf("get volume snapshot %s: %w", name, err)
	}
	out.Snapshot = s
	out.Content, err = lifecycle.Content(ctx, r.APIReader, s)
	return out, err
}

// observeClaims adds the claims that a restore makes of VolumeSnapshots, where a Job of it has ended and may have made some.
func (r *Reconciler) observeClaims(ctx context.Context, in *session.RestoreInput) error {
	s := in.Session
	ended := false
	for _, job := range in.Jobs {
		ended = ended || job.Result != nil || job.Finished || job.State == task.StateFailed
	}
	if !ended || !session.ProvisionsClaims(s.Status.Resolved) {
		return nil
	}
	in.Claims = map[string]session.MadeClaim{}
	for i := range s.Status.Resolved.Hosts {
		h := &s.Status.Resolved.Hosts[i]
		for j := range h.Volumes {
			v := &h.Volumes[j]
			if s.Status.Components[v.Component].Phase.Terminal() {
				continue
			}
			made, err := r.madeClaim(ctx, s, v)
			if err != nil {
				return err
			}
			in.Claims[v.ClaimName] = made
		}
	}
	return nil
}

// madeClaim reads what has become of one claim.
func (r *Reconciler) madeClaim(ctx context.Context, s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume) (session.MadeClaim, error) {
	claim, err := r.claim(ctx, s.Namespace, v.ClaimName)
	if err != nil {
		return session.MadeClaim{}, err
	}
	source := &snapshotv1.VolumeSnapshot{}
	err = r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: v.Provision.VolumeSnapshot}, source)
	if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
		return session.MadeClaim{}, fmt.Errorf("get volume snapshot %s: %w", v.Provision.VolumeSnapshot, err)
	}
	var volume *corev1.PersistentVolume
	if claim != nil {
		if volume, err = lifecycle.VolumeOf(ctx, r.APIReader, claim); err != nil {
			return session.MadeClaim{}, err
		}
	}
	made := session.LookAtClaim(s, v, claim, source.UID, volume)
	if claim != nil && made.Wrong == "" && !made.Bound {
		made.Warning, err = r.warningOf(ctx, claim)
	}
	return made, err
}

// warningOf is the last warning about a claim.
func (r *Reconciler) warningOf(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	var events corev1.EventList
	about := client.MatchingFields{"involvedObject.uid": string(claim.UID), "type": corev1.EventTypeWarning}
	if err := r.APIReader.List(ctx, &events, client.InNamespace(claim.Namespace), about); err != nil {
		return "", fmt.Errorf("list the warnings about persistent volume claim %s: %w", claim.Name, err)
	}
	var last *corev1.Event
	for i := range events.Items {
		if e := &events.Items[i]; last == nil || last.LastTimestamp.Before(&e.LastTimestamp) {
			last = e
		}
	}
	if last == nil {
		return "", nil
	}
	return last.Message, nil
}
