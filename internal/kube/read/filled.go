package read

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/run/restore"
)

// Filled finds which of the claims an identical restore has filled. It reads the volumes, past the cache, only of
// claims whose annotation has one of its digests.
func Filled(
	ctx context.Context, live client.Reader, claims []corev1.PersistentVolumeClaim, by restore.Identical,
) (restore.Filled, error) {
	volumes := map[string]types.UID{}
	for i := range claims {
		if !restore.Marked(claims[i].Annotations, by.Digests...) {
			continue
		}
		volume, err := VolumeOf(ctx, live, &claims[i])
		if err != nil {
			return restore.Filled{}, err
		}
		if volume != nil {
			volumes[claims[i].Name] = volume.UID
		}
	}
	return restore.FindFilled(claims, volumes, by), nil
}

// DatabaseMark reads, past the cache, the Lease that holds for a database what a claim holds in its own annotations:
// which restore writes into it, and which restore filled it. The object that stands for the database belongs to others,
// and the manager is not allowed to write it. target is the UID of that object. DatabaseMark returns nil if the Lease
// does not exist.
func DatabaseMark(
	ctx context.Context, live client.Reader, namespace string, target types.UID,
) (*coordinationv1.Lease, error) {
	mark := &coordinationv1.Lease{}
	err := live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: DatabaseMarkName(target)}, mark)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Lease %s: %w", DatabaseMarkName(target), err)
	}
	return mark, nil
}

// DatabaseMarkName returns the name of the Lease of a database: see DatabaseMark.
func DatabaseMarkName(target types.UID) string { return "cairn-restore-" + string(target) }

// DatabaseFilled reports whether an identical restore filled a database that still has its data. claims are those of
// the namespace. It also returns the DatabaseMark, which can be nil.
func DatabaseFilled(
	ctx context.Context, live client.Reader, namespace string, d *Database, claims []corev1.PersistentVolumeClaim,
	by restore.Identical,
) (bool, *coordinationv1.Lease, error) {
	mark, err := DatabaseMark(ctx, live, namespace, d.UID())
	if mark == nil || err != nil {
		return false, nil, err
	}
	volumes := restore.VolumesOfDatabase(d.Location.Pod, claims)
	return restore.DatabaseFilledBy(mark.Annotations, d.UID(), volumes, by), mark, nil
}

// DatabaseUnseen reports whether a database that is not DatabaseFilled can hold what an identical restore wrote all the
// same, under any name, and nothing tells: its server is elsewhere, or is one of several, or could not be seen when the
// restore ended, or was made anew on the same claims, or nobody vouches for its data any more. mark is its
// DatabaseMark, which can be nil.
func DatabaseUnseen(
	d *Database, mark *coordinationv1.Lease, claims []corev1.PersistentVolumeClaim, by restore.Identical,
) bool {
	return mark != nil && restore.DatabaseCanHold(mark.Annotations, d.UID(), d.Location.Pod, claims, by)
}
