package managedfields_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cairn-backup/cairn/internal/managedfields"
)

func TestAppliedBy(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, key string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: manager, Operation: operation,
			FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:` + key + `":{}}}`),
		}
	}
	secret := &corev1.Secret{}
	secret.Name, secret.ManagedFields = "keys", []metav1.ManagedFieldsEntry{
		entry("cairn", metav1.ManagedFieldsOperationApply, "a"),
		entry("cairn", metav1.ManagedFieldsOperationApply, "b"),
		entry("cairn", metav1.ManagedFieldsOperationUpdate, "c"),
		entry("kubectl", metav1.ManagedFieldsOperationApply, "d"),
		{Manager: "cairn", Operation: metav1.ManagedFieldsOperationApply},
	}
	g := NewWithT(t)
	applied, err := managedfields.AppliedBy("cairn", secret)
	g.Expect(err).NotTo(HaveOccurred())
	for key, want := range map[string]bool{"a": true, "b": true, "c": false, "d": false} {
		g.Expect(applied.Has(fieldpath.MakePathOrDie("data", key))).To(Equal(want), key)
	}
	secret.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1("{")
	_, err = managedfields.AppliedBy("cairn", secret)
	g.Expect(err).To(MatchError(HavePrefix("read managedFields of keys: ")))
}
