package lifecycle

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// VolumeOf reads the volume that a claim is bound to. It is nil where the claim has none, or its volume is gone.
func VolumeOf(ctx context.Context, live client.Reader, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	if claim.Spec.VolumeName == "" {
		return nil, nil
	}
	volume := &corev1.PersistentVolume{}
	err := Get(ctx, live, client.ObjectKey{Name: claim.Spec.VolumeName}, volume)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get persistent volume %s: %w", claim.Spec.VolumeName, err)
	}
	return volume, nil
}
