package backupconfiguration

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A release that is lost is tried again.
func TestALostReleaseIsAnError(t *testing.T) {
	for name, deleted := range map[string]*metav1.Time{
		"nothing goes with it any more": nil, "it is being deleted": new(metav1.Now()),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			configuration := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "web", DeletionTimestamp: deleted,
				Finalizers: []string{v1alpha1.FinalizerRepositories, "example.com/held"},
			}}
			lost := errors.New("lost")
			c := fake.NewClientBuilder().WithScheme(scheme).
				WithObjects(configuration, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}).
				WithInterceptorFuncs(testbed.FailPatch(&lost)).Build()
			r := &Reconciler{Client: c, APIReader: c, FieldManager: "test"}
			release := func(ctx context.Context, c *v1alpha1.BackupConfiguration) error {
				_, _, err := r.bound(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(c)}, c)
				return err
			}
			g.Expect(release(t.Context(), configuration.DeepCopy())).To(MatchError(lost))
			lost = nil
			g.Expect(release(t.Context(), configuration)).To(Succeed())
			g.Expect(configuration.Finalizers).To(Equal([]string{"example.com/held"}))
		})
	}
}
