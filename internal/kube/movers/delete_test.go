package movers

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// sameUID deletes like the API server: an object with another UID than that of the precondition stays.
func sameUID(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
	want := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions
	has := &batchv1.Job{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), has); err != nil {
		return err
	}
	if want != nil && want.UID != nil && *want.UID != has.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: "batch", Resource: "jobs"}, o.GetName(),
			errors.New("another UID"))
	}
	return c.Delete(ctx, o, opts...)
}

// TestOnlyAJobOfTheOwnerIsDeleted deletes a Job whose name somebody else uses. Names of Jobs can be computed.
func TestOnlyAJobOfTheOwnerIsDeleted(t *testing.T) {
	owner := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run", UID: "uid-run"}}
	of := func(uid types.UID) []metav1.OwnerReference {
		o := owner.DeepCopy()
		o.UID = uid
		return []metav1.OwnerReference{
			*metav1.NewControllerRef(o, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind)),
		}
	}
	ours := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	for name, tc := range map[string]struct {
		labels   map[string]string
		owners   []metav1.OwnerReference
		observed types.UID
		gone     bool
	}{
		"a Job of the owner":                        {ours, of("uid-run"), "uid-job", true},
		"a Job of the owner that was not observed":  {ours, of("uid-run"), "", true},
		"a Job of an application":                   {nil, nil, "", false},
		"a Job with the label alone":                {ours, nil, "", false},
		"a Job of an earlier owner of the name":     {ours, of("uid-old"), "", false},
		"a Job that took the name of one that went": {nil, nil, "uid-gone", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "backup-run", UID: "uid-job", Labels: tc.labels, OwnerReferences: tc.owners,
			}}
			c := fake.NewClientBuilder().WithObjects(job).
				WithInterceptorFuncs(interceptor.Funcs{Delete: sameUID}).Build()
			g.Expect(Delete(t.Context(), c, c, owner, job.Name, run.Job{UID: tc.observed})).To(Succeed())
			err := c.Get(t.Context(), client.ObjectKeyFromObject(job), job)
			g.Expect(client.IgnoreNotFound(err)).To(Succeed())
			g.Expect(err != nil).To(Equal(tc.gone))
		})
	}
}
