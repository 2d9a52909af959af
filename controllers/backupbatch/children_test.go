package backupbatch

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// refusing is a client whose API server refuses one object.
type refusing struct {
	client.Client
	name string
}

func (r refusing) Apply(ctx context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if named, ok := object.(interface{ GetName() string }); !ok || named.GetName() == r.name {
		return errors.New("the quota is used up")
	}
	return r.Client.Apply(ctx, object, opts...)
}

func TestAChildThatIsRefusedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	batch := batchOf(namespaceWith(t), "web", "db", "files")
	// Keeps the bed's own controller away from the batch.
	batch.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
	bed.Create(t, batch)
	r := &Reconciler{
		Client: refusing{Client: bed.Manager.GetClient(), name: "shop-db"}, EventRecorder: &events,
		APIReader: bed.Manager.GetAPIReader(), FieldManager: "cairn-manager",
	}

	_, err := r.ensureChildren(t.Context(), batch, nil, new(policy.Dependencies))

	g.Expect(err).To(MatchError(ContainSubstring("the quota is used up")))
	var children v1alpha1.BackupConfigurationList
	g.Expect(bed.Client.List(t.Context(), &children, client.InNamespace(batch.Namespace))).To(Succeed())
	var names []string
	for _, child := range children.Items {
		names = append(names, child.Name)
	}
	g.Expect(names).To(ConsistOf("shop-web", "shop-files"))
}
