package restore

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/workload/destination"
)

// askVolumes finds out whether the Snapshot consists of VolumeSnapshots. If the cluster does not tell, askVolumes
// assumes files: the manager checks it again.
func (f *restoreFlags) askVolumes(ctx context.Context, api client.Client, namespace string) error {
	namespace = cmp.Or(f.fromNamespace, namespace)
	if f.snapshot != "" && f.snapshot != v1alpha1.LatestSnapshot {
		var snap v1alpha1.Snapshot
		err := ignoreUnreadable(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: f.snapshot}, &snap))
		f.volumes = destination.FromVolumeSnapshots(&snap)
		return wrapError(err, "get Snapshot "+f.snapshot)
	}
	var repo v1alpha1.Repository
	err := ignoreUnreadable(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: f.repository}, &repo))
	f.volumes = repo.Spec.Driver == v1alpha1.DriverVolumeSnapshotter
	return wrapError(err, "get Repository "+f.repository)
}

// ignoreUnreadable drops the error of an object that does not exist or that the user is not allowed to see.
func ignoreUnreadable(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

func wrapError(err error, what string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// checkVolumes refuses flags that do not suit how the data is kept.
func (f *restoreFlags) checkVolumes(withUser bool) error {
	switch {
	case !f.volumes && f.newClaim != "" && f.size == "":
		return command.Usagef("--new-claim needs the size of the claim: pass --size, for example --size 10Gi")
	case !f.volumes && len(f.replace) > 0:
		return command.Usagef(
			"--replace is for VolumeSnapshots: to restore files into a claim that exists, name it with --target")
	case !f.volumes:
		return nil
	case f.newClaim == "":
		return command.Usagef(
			"the Snapshot consists of VolumeSnapshots, which can only be restored into new volumes: pass " +
				"--new-claim instead of --target. To replace an existing claim of that name, pass its UID with " +
				"--replace")
	case len(f.include) > 0 || len(f.exclude) > 0 || f.verify:
		return command.Usagef(
			"--include, --exclude and --verify are for files, but the Snapshot consists of VolumeSnapshots")
	case withUser:
		return command.Usagef("--run-as-user is for files, but the storage system restores VolumeSnapshots")
	}
	return nil
}
