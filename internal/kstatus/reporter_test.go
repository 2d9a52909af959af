package kstatus

import (
	"context"
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// What can't be made because the namespace goes is not tried again: the object goes too.
func TestANamespaceThatGoesIsNoError(t *testing.T) {
	gone := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("repositories").GroupResource(), "data", errors.New("being terminated"))
	gone.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	other := errors.New("something else")
	for name, c := range map[string]struct{ err, want error }{
		"nothing":               {nil, nil},
		"a namespace that goes": {fmt.Errorf("apply Repository: %w", gone), nil},
		"any other error":       {other, other},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			object := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3"}}
			reporter := Reporter{
				Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).WithStatusSubresource(object).Build(),
				Events: record.NewFakeRecorder(1), FieldManager: "test",
			}
			_, err := reporter.Reconcile(t.Context(), client.ObjectKeyFromObject(object), &v1alpha1.BackupStorage{},
				func(context.Context) (ctrl.Result, error) { return ctrl.Result{}, c.err })
			if c.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(c.want))
			}
		})
	}
}
