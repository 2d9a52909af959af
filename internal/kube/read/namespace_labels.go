package read

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NamespaceLabels reads the labels of each Namespace once. Call NewNamespaceLabels. It is not safe for concurrent use.
type NamespaceLabels struct {
	reader client.Reader
	known  map[string]map[string]string
}

// NewNamespaceLabels returns NamespaceLabels that read from here.
func NewNamespaceLabels(reader client.Reader) NamespaceLabels {
	return NamespaceLabels{reader: reader, known: map[string]map[string]string{}}
}

// Of returns the labels of a Namespace. One that does not exist has none.
func (n NamespaceLabels) Of(ctx context.Context, name string) (map[string]string, error) {
	labels, ok := n.known[name]
	if ok {
		return labels, nil
	}
	var namespace corev1.Namespace
	if err := n.reader.Get(ctx, client.ObjectKey{Name: name}, &namespace); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Namespace %s: %w", name, err)
	}
	n.known[name] = namespace.Labels
	return namespace.Labels, nil
}
