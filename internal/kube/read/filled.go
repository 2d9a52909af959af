package read

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/run/restore"
)

// Filled finds which of the claims a restore with one of the digests has filled. It reads the volumes, past the cache,
// only of claims whose annotation names one.
func Filled(
	ctx context.Context, live client.Reader, claims []corev1.PersistentVolumeClaim, digests ...string,
) (restore.Filled, error) {
	volumes := map[string]types.UID{}
	for i := range claims {
		if !restore.Marked(claims[i].Annotations, digests...) {
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
	return restore.FindFilled(claims, volumes, digests...), nil
}
