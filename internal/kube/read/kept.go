package read

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/retention"
)

// NamespaceGoes reports whether a Namespace is being deleted, or is gone. It reads from the API server.
func NamespaceGoes(ctx context.Context, live client.Reader, name string) (bool, error) {
	var namespace corev1.Namespace
	err := live.Get(ctx, client.ObjectKey{Name: name}, &namespace)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Namespace %s: %w", name, err)
	}
	return err != nil || !namespace.DeletionTimestamp.IsZero(), nil
}

// WhyKept returns why the data of a deleted object stays: see retention.WhyKept. It reads the object's namespace from
// the API server.
func WhyKept(ctx context.Context, live client.Reader, o client.Object) (retention.Kept, error) {
	if retention.IsGivenUp(o) {
		return retention.GivenUp, nil
	}
	namespace := &corev1.Namespace{}
	err := live.Get(ctx, client.ObjectKey{Name: o.GetNamespace()}, namespace)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get Namespace %s: %w", o.GetNamespace(), err)
	}
	if err != nil {
		namespace = nil
	}
	return retention.WhyKept(o, namespace), nil
}
