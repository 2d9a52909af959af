package testbed

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// Indexes registers indexes with the builder of a fake client. It is a client.FieldIndexer.
type Indexes struct{ *fake.ClientBuilder }

// IndexField implements client.FieldIndexer. It never fails.
func (i Indexes) IndexField(_ context.Context, o client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(o, field, values)
	return nil
}
