package cli

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/session"
)

// askVolumes finds out whether what is restored is kept as VolumeSnapshots. Where the cluster does not tell, it is files: the manager
// knows better.
func (f *restoreFlags) askVolumes(ctx context.Context, api client.Client, namespace string) error {
	namespace = cmp.Or(f.fromNamespace, namespace)
	if f.snapshot != "" && f.snapshot != v1alpha1.LatestSnapshot {
		var snap v1alpha1.Snapshot
		err := hidden(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: f.snapshot}, &snap))
		f.volumes = session.FromVolumeSnapshots(&snap)
		return wrapped(err, "get Snapshot "+f.snapshot)
	}
	var repo v1alpha1.Repository
	err := hidden(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: f.repository}, &repo))
	f.volumes = repo.Spec.Driver == v1alpha1.DriverVolumeSnapshotter
	return wrapped(err, "get Repository "+f.repository)
}

// hidden is nil for what is not there, and for what the user may not see.
func hidden(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

func wrapped(err error, what string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// checkVolumes refuses flags that do not go with how the data is kept.
func (f *restoreFlags) checkVolumes(withUser bool) error {
	switch {
	case !f.volumes && f.newClaim != "" && f.size == "":
		return usagef("say how large the new claim is with --size, for example --size 10Gi")
	case !f.volumes && len(f.replace) > 0:
		return usagef("--replace is for VolumeSnapshots: to restore files into a claim that exists, name it with --target")
	case !f.volumes:
		return nil
	case f.newClaim == "":
		return usagef("the Snapshot is kept as VolumeSnapshots, of which only new volumes are made: name the new claim with --new-claim in place of --target. A claim of that name is deleted for it with --replace and its UID")
	case len(f.include) > 0 || len(f.exclude) > 0 || f.verify:
		return usagef("--include, --exclude and --verify are for files, and the Snapshot is kept as VolumeSnapshots")
	case withUser:
		return usagef("--run-as-user is for files: the storage system makes volumes of VolumeSnapshots")
	}
	return nil
}
