package index_test

import (
	"context"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// The lists of a cache have no order.
func TestSnapshotsAreListedByName(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	snapshot := func(namespace, repository, name string, annotations map[string]string) *v1alpha1.Snapshot {
		return &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
			Spec:       v1alpha1.SnapshotSpec{Repository: repository},
		}
	}
	const field = index.Snapshots("snapshots")
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		snapshot("shop", "web", "a", nil), snapshot("shop", "web", "b", nil), snapshot("shop", "web", "c", nil),
		snapshot("shop", "web", "record", map[string]string{v1alpha1.AnnotationRecord: "x"}),
		snapshot("shop", "db", "other", nil), snapshot("copy", "web", "foreign", nil))
	g.Expect(field.Register(t.Context(), testbed.Indexes{ClientBuilder: b})).To(Succeed())
	backwards := interceptor.NewClient(b.Build(), interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		err := c.List(ctx, list, opts...)
		slices.Reverse(list.(*v1alpha1.SnapshotList).Items)
		return err
	}})
	found, err := field.Of(t.Context(), backwards, "shop", "web")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(HaveExactElements(
		HaveField("Name", "a"), HaveField("Name", "b"), HaveField("Name", "c")))
}
