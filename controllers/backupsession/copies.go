package backupsession

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/copies"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload"
)

func (r *Reconciler) copies() copies.Maker {
	return copies.Maker{Client: r.Client, Live: r.APIReader, Owner: client.FieldOwner(r.FieldManager)}
}

// copyRefusal explains why no copies can be made for a target. It returns nil if they can be made or are not asked for.
func copyRefusal(method v1alpha1.CopyMethod, t *v1alpha1.ResolvedTarget) *v1alpha1.ResolvedError {
	executor := v1alpha1.ExecutorJob
	if workload.IsSidecar(t) {
		executor = v1alpha1.ExecutorSidecar
	}
	if why := check.WhyNoCopies(method, t.AppRef, t.Task.Driver, executor); why != "" {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCopyNotPossible, Message: why}
	}
	return nil
}

// resolveCopies resolves which temporary volumes the Jobs of the hosts of a target read. It reads all its input past
// the cache, because the cache holds none of these kinds.
func (r *resolution) resolveCopies(
	ctx context.Context, target string, hosts []v1alpha1.ResolvedHost, settings v1alpha1.CopySettings,
) ([]v1alpha1.ResolvedCopy, *v1alpha1.ResolvedError, error) {
	if !settings.CopyMethod.Copies() {
		return nil, nil, nil
	}
	state, err := r.state(ctx)
	if err != nil {
		return nil, nil, err
	}
	in := workload.Copies{
		Run: r.session.UID, Target: target, Settings: settings, Sources: map[string]volumesnapshot.Source{},
		StorageClasses: map[string]*storagev1.StorageClass{},
	}
	for _, claim := range workload.ClaimsOf(hosts) {
		source, err := r.volumeSource(ctx, state, claim)
		if err != nil {
			return nil, nil, err
		}
		in.Sources[claim] = source
		if source.StorageClass != nil {
			in.StorageClasses[source.StorageClass.Name] = source.StorageClass
		}
	}
	if v := settings.CopyVolume; v != nil && v.StorageClassName != "" {
		var class storagev1.StorageClass
		if err := read.Get(ctx, r.APIReader, client.ObjectKey{Name: v.StorageClassName}, &class); err == nil {
			in.StorageClasses[class.Name] = &class
		} else if client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("get StorageClass %s: %w", v.StorageClassName, err)
		}
	}
	if settings.CopyMethod == v1alpha1.CopySnapshot {
		var classes snapshotv1.VolumeSnapshotClassList
		if err := r.APIReader.List(ctx, &classes); volumesnapshot.NoKind(err) {
			return nil, &v1alpha1.ResolvedError{
				Reason: v1alpha1.ReasonVolumeSnapshotsNotSupported,
				Message: "the cluster has no kind VolumeSnapshotClass: install the snapshot controller of the CSI " +
					"project and " +
					"its CRDs, or leave copyMethod out",
			}, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("list VolumeSnapshotClasses: %w", err)
		}
		in.Classes = classes.Items
	}
	out, refusal := workload.ResolveCopies(hosts, in)
	return out, refusal, nil
}

// writeCopies creates the copies of a decision. If a copy can't be made, it adds the reason to refused:
// the next decision takes that into account.
func (r *Reconciler) writeCopies(
	ctx context.Context, in backup.Input, d backup.Decision, refused movers.Refusals,
) error {
	if len(d.Copies) == 0 {
		return nil
	}
	var names []string
	for _, request := range d.Copies {
		for _, repo := range request.Target.Repositories {
			names = append(names, repo.Snapshot)
		}
	}
	if r.pauses.Hold(ctx, in.Session.UID, in.Now, refused, names) {
		return nil
	}
	if err := oneshot.Newest(ctx, r.APIReader, in.Session); err != nil {
		return err
	}
	// The state can have been frozen long ago, for example if the manager was down. So read the restores of today.
	restores, err := r.restores(ctx, in.Session.Namespace)
	if err != nil {
		return err
	}
	for _, request := range d.Copies {
		refusal := restoreIntoCopy(restores, request)
		if refusal == nil {
			err := r.copies().Make(ctx, in.Session, request, in.Copies[request.Copy.Name])
			if refusal = movers.RefusalOf(err); refusal == nil && err != nil {
				return err
			}
		}
		if refusal != nil {
			for _, repo := range request.Target.Repositories {
				refused.Set(ctx, repo.Snapshot, refusal)
			}
		}
	}
	return nil
}

// restoreIntoCopy explains which restore writes into a volume that is about to be copied, or returns nil.
func restoreIntoCopy(restores []v1alpha1.RestoreSession, request backup.CopyRequest) *v1alpha1.ResolvedError {
	if !request.Snapshot && request.Copy.VolumeSnapshotClassName != "" {
		return nil // the snapshot of the claim already exists
	}
	return restoreInto(restores,
		&v1alpha1.ResolvedHost{Volumes: []v1alpha1.ResolvedVolume{{ClaimName: request.Copy.ClaimName}}})
}
