package restoresession

import (
	"context"
	"fmt"
	"strconv"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// noTarget refuses a target for a Snapshot of VolumeSnapshots: they become new volumes only.
func (s *lookup) noTarget(snap *v1alpha1.Snapshot) bool {
	if s.session.Spec.Target == nil || !destination.FromVolumeSnapshots(snap) {
		return false
	}
	s.refuse(0, v1alpha1.ReasonInvalidParameters,
		"Snapshot %s is kept as VolumeSnapshots, and these become new volumes: leave target out, and name task "+
			"%s of %s "+
			"with targetVolumes.volumeClaimTemplates. The annotation %s on a template makes Cairn replace an "+
			"existing claim",
		snap.Name, catalog.VolumeRestoreTask, catalog.VolumeAddon, v1alpha1.AnnotationReplace)
	return true
}

// misfit refuses a task that does not fit the Snapshot.
func (s *lookup) misfit() bool {
	provisions := s.Resolved.Task.Driver == v1alpha1.DriverVolumeSnapshotter
	kept := s.snapshot == nil || destination.FromVolumeSnapshots(s.snapshot)
	switch {
	case kept && !provisions:
		what := "the templates name VolumeSnapshots"
		if s.snapshot != nil {
			what = "Snapshot " + s.snapshot.Name + " is kept as VolumeSnapshots"
		}
		s.refuse(0, v1alpha1.ReasonInvalidTask, "%s: name task %s of %s", what, catalog.VolumeRestoreTask,
			catalog.VolumeAddon)
	case provisions && !kept:
		s.refuse(0, v1alpha1.ReasonInvalidTask,
			"task %s of Addon %s makes volumes of VolumeSnapshots, and Snapshot %s is not kept as VolumeSnapshots: "+
				"name task %s",
			s.Resolved.Task.Task, s.Resolved.Task.Addon, s.snapshot.Name, catalog.RestoreTask)
	case provisions && s.session.Spec.Target != nil:
		s.refuse(0, v1alpha1.ReasonInvalidTask,
			"task %s of Addon %s makes new volumes: leave target out, and write targetVolumes.volumeClaimTemplates",
			s.Resolved.Task.Task, s.Resolved.Task.Addon)
	case provisions && s.session.Spec.Verify:
		s.refuse(0, v1alpha1.ReasonInvalidParameters,
			"verify reads files back, but the storage system makes the volumes of VolumeSnapshots: leave verify out")
	default:
		return false
	}
	return true
}

// resolveClaims resolves which claims are made of which VolumeSnapshots, and checks whether that is possible now.
func (r *Reconciler) resolveClaims(ctx context.Context, look *lookup) error {
	plan, refusal := destination.PlanClaims(look.target, destination.Replicas(look.session))
	if look.Error = refusal; refusal != nil {
		return nil
	}
	if look.AlreadyRestored = look.planFilled(plan); look.AlreadyRestored {
		return nil
	}
	if err := r.findEarlierClaims(ctx, look, plan); err != nil || look.Error != nil || look.AlreadyRestored ||
		look.Unbound != "" {
		return err
	}
	known, err := r.provisioning(ctx, look, plan)
	if err != nil || look.Error != nil {
		return err
	}
	if look.Resolved.Hosts, look.Error = destination.ResolveClaims(look.target, plan, known); look.Error != nil {
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
	if look.Error = destination.ReplaceClaims(look.Resolved.Hosts, look.target); look.Error != nil &&
		look.Error.Reason == v1alpha1.ReasonVolumeInUse {
		look.Wait = waitForTarget // the user has probably just scaled the workload down
	}
	return nil
}

// planFilled reports whether an identical earlier restore filled every planned claim.
func (s *lookup) planFilled(plan []destination.PlannedClaim) bool {
	var names []string
	for _, p := range plan {
		names = append(names, p.Claim)
	}
	return s.filled.All(names)
}

// provisioning reads what the planned claims are made of, past the cache, which holds none of these kinds.
func (r *Reconciler) provisioning(
	ctx context.Context, look *lookup, plan []destination.PlannedClaim,
) (destination.ClaimSources, error) {
	namespace := sourceNamespace(look.session)
	bind, err := strconv.ParseBool(restore.Argument(look.Resolved.Task, "--bind"))
	known := destination.ClaimSources{
		Restore: look.session.UID, Elsewhere: namespace != look.session.Namespace, Bind: err != nil ||
			bind, Snapshots: map[string]destination.SnapshotState{},
	}
	var classes storagev1.StorageClassList
	if err := r.APIReader.List(ctx, &classes); err != nil {
		return known, fmt.Errorf("list StorageClasses: %w", err)
	}
	known.StorageClasses = classes.Items
	for _, p := range plan {
		if _, read := known.Snapshots[p.VolumeSnapshot]; read {
			continue
		}
		found, err := r.volumeSnapshot(ctx, namespace, p.VolumeSnapshot)
		if volumesnapshot.NoKind(err) {
			look.refuse(0, v1alpha1.ReasonVolumeSnapshotsNotSupported,
				"the cluster has no kind VolumeSnapshot: install the snapshot controller of the CSI project and "+
					"its CRDs")
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

// volumeSnapshot reads a VolumeSnapshot and its bound content.
func (r *Reconciler) volumeSnapshot(ctx context.Context, namespace, name string) (destination.SnapshotState, error) {
	var out destination.SnapshotState
	s := &snapshotv1.VolumeSnapshot{}
	err := read.Get(ctx, r.APIReader, client.ObjectKey{Namespace: namespace, Name: name}, s)
	switch {
	case apierrors.IsNotFound(err):
		return out, nil
	case err != nil:
		return out, fmt.Errorf("get VolumeSnapshot %s: %w", name, err)
	}
	out.Snapshot = s
	out.Content, err = read.BoundContent(ctx, r.APIReader, s)
	return out, err
}
