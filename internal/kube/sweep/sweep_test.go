package sweep_test

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/internal/kube/sweep"
)

func TestDelete(t *testing.T) {
	g := NewWithT(t)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "copy", UID: "first"}}
	var asked client.DeleteOptions
	c := fake.NewClientBuilder().WithObjects(claim).WithInterceptorFuncs(interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			asked = *(&client.DeleteOptions{}).ApplyOptions(opts)
			return c.Delete(ctx, o)
		},
	}).Build()
	g.Expect(sweep.Delete(t.Context(), c, claim)).To(Succeed())
	g.Expect(asked.Preconditions.UID).To(HaveValue(BeEquivalentTo("first")), "another object of the name stays")
	g.Expect(apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(claim), claim))).To(BeTrue())
	g.Expect(sweep.Delete(t.Context(), c, claim)).To(Succeed(), "it is gone")

	refusing := interceptor.NewClient(c, interceptor.Funcs{
		Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error {
			return apierrors.NewConflict(corev1.Resource("persistentvolumeclaims"), "copy", nil)
		},
	})
	err := sweep.Delete(t.Context(), refusing, claim)
	g.Expect(apierrors.IsConflict(err)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring("delete PersistentVolumeClaim shop/copy: ")))
}
