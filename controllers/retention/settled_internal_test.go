package retention

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestWhenPolicyHasSettled(t *testing.T) {
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	now := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	written := func(ago time.Duration, subresource string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: "kubectl", Subresource: subresource, Time: new(metav1.NewTime(now.Add(-ago))),
		}
	}
	for name, c := range map[string]struct {
		fields  []metav1.ManagedFieldsEntry
		created time.Duration
		deleted bool
		says    string
		again   time.Duration
	}{
		"long ago":      {created: time.Hour},
		"made just now": {created: time.Minute, says: "unchanged for 2m0s", again: time.Minute},
		"changed just now": {
			fields: []metav1.ManagedFieldsEntry{written(30*time.Second, "")}, created: time.Hour,
			says: "unchanged for 2m0s", again: 90 * time.Second,
		},
		"only its status changed":   {fields: []metav1.ManagedFieldsEntry{written(0, "status")}, created: time.Hour},
		"by a clock a little ahead": {created: -time.Minute, says: "unchanged for 2m0s", again: 3 * time.Minute},
		"by a clock that was wrong": {created: -365 * 24 * time.Hour},
		"it is being deleted": {
			created: time.Hour, deleted: true, says: "while RetentionPolicy/keep, which decides, is being deleted",
			again: partInterval,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{
				Name: "keep", CreationTimestamp: metav1.NewTime(now.Add(-c.created)), ManagedFields: c.fields,
			}}
			if c.deleted {
				p.DeletionTimestamp = new(metav1.NewTime(now))
			}
			r := &Reconciler{Client: fake.NewClientBuilder().WithScheme(scheme).Build(), SettleTime: SettleTime}
			is, err := r.findUnsettled(t.Context(), []client.Object{p}, now)
			g.Expect(err).NotTo(HaveOccurred())
			if c.says == "" {
				g.Expect(is).To(BeNil())
				return
			}
			g.Expect(is.message).To(ContainSubstring(c.says))
			g.Expect(is.again).To(Equal(c.again))
		})
	}
}
