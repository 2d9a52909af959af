package testbed

import (
	"context"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Indexes registers indexes with the builder of a fake client. It is a client.FieldIndexer.
type Indexes struct{ *fake.ClientBuilder }

// IndexField implements client.FieldIndexer. It never fails.
func (i Indexes) IndexField(_ context.Context, o client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(o, field, values)
	return nil
}

// Definition returns the CRD of a kind for a fake client. Without it the objects of the kind count as taken along. If
// it goes, it is being deleted.
func Definition(plural string, goes bool) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: plural + "." + v1alpha1.Group}}
	if goes {
		d.DeletionTimestamp = new(metav1.Now())
		d.Finalizers = []string{apiextensionsv1.CustomResourceCleanupFinalizer}
	}
	return d
}
