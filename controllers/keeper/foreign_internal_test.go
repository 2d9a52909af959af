package keeper

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A clock that was a year ahead has dated the deletion of a Job. What holds it must be said this year.
func TestAJobThatAWrongClockDeletedIsNotWaitedForInSilence(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	r := &Reconciler{
		Client: fake.NewClientBuilder().WithScheme(scheme).Build(), Clock: clocktesting.NewFakePassiveClock(now),
	}
	for name, tt := range map[string]struct{ deleted, after time.Duration }{
		"just now":       {0, soon},
		"long ago":       {-time.Hour, storageInterval},
		"in a year only": {365 * 24 * time.Hour, storageInterval},
	} {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.NewTime(now.Add(tt.deleted)))}}
		p := place{namespace: "shop", storage: client.ObjectKey{Namespace: "shop", Name: "s3"}}
		result, err := r.going(t.Context(), p, job)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), name)
		NewWithT(t).Expect(result.RequeueAfter).To(Equal(tt.after), name)
	}
}
