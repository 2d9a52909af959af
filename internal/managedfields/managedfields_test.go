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
	owned, err := managedfields.OwnedBy("cairn", secret)
	g.Expect(err).NotTo(HaveOccurred())
	for key, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false} {
		g.Expect(owned.Has(fieldpath.MakePathOrDie("data", key))).To(Equal(want), key)
	}
	for key, want := range map[string]string{"a": "cairn", "b": "cairn", "c": "", "d": ""} {
		applier, err := managedfields.Applier(fieldpath.MakePathOrDie("data", key), secret)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(applier).To(Equal(want), key)
	}
	secret.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1("{")
	_, err = managedfields.AppliedBy("cairn", secret)
	g.Expect(err).To(MatchError(HavePrefix("read managedFields of keys: ")))
	_, err = managedfields.Applier(fieldpath.MakePathOrDie("data", "a"), secret)
	g.Expect(err).To(MatchError(HavePrefix("read managedFields of keys: ")))
}

func TestTakeFromKubectl(t *testing.T) {
	type entry = metav1.ManagedFieldsEntry
	of := func(manager string, operation metav1.ManagedFieldsOperationType, fields string) entry {
		return entry{
			Manager: manager, Operation: operation, APIVersion: "v1", FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(fields),
		}
	}
	const (
		apply  = metav1.ManagedFieldsOperationApply
		update = metav1.ManagedFieldsOperationUpdate
	)
	scale := of("kubectl", update, `{"f:spec":{"f:replicas":{}}}`)
	scale.Subresource = "scale"
	other := of("kubectl-edit", update, `{"f:spec":{"f:x":{}}}`)
	other.APIVersion = "v2"
	ours := of("cairn", apply, `{"f:spec":{"f:a":{}}}`)
	labels := of("kubectl-label", update, `{"f:metadata":{"f:labels":{"f:team":{}}}}`)
	for name, tt := range map[string]struct {
		before, after []entry
		stays         managedfields.Stays
	}{
		"nothing":        {before: []entry{ours, of("helm", update, `{"f:spec":{"f:x":{}}}`)}},
		"no fields":      {before: []entry{ours, {Manager: "kubectl", Operation: update, APIVersion: "v1"}}},
		"metadata":       {before: []entry{ours, labels}},
		"a subresource":  {before: []entry{ours, scale}},
		"other version":  {before: []entry{other, ours}},
		"other programs": {before: []entry{ours, of("cairn", update, `{"f:spec":{"f:x":{}}}`)}},
		"adopted": {
			before: []entry{labels, of("kubectl", apply, `{"f:spec":{"f:x":{}}}`)},
			after:  []entry{labels, of("cairn", apply, `{"f:spec":{"f:x":{}}}`)},
		},
		"several": {
			before: []entry{
				of("kubectl-edit", update, `{"f:spec":{"f:b":{"f:c":{}}}}`), ours, scale,
				of("before-first-apply", update, `{"f:data":{}}`),
			},
			after: []entry{scale, of("cairn", apply, `{"f:data":{},"f:spec":{"f:a":{},"f:b":{"f:c":{}}}}`)},
		},
		"kubectl apply": {
			before: []entry{ours, of("kubectl-client-side-apply", update, `{"f:metadata":{"f:annotations":{`+
				`".":{},"f:me":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":{"f:b":{}}}`)},
			after: []entry{
				of("kubectl-client-side-apply", update, `{"f:metadata":{"f:annotations":{".":{},"f:me":{}}}}`),
				of("cairn", apply, `{"f:metadata":{"f:annotations":{`+
					`"f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":{"f:a":{},"f:b":{}}}`),
			},
		},
		"shared": {
			before: []entry{of("kubectl-edit", update, `{"f:spec":{"f:a":{},"f:b":{}}}`), ours},
			after: []entry{
				of("kubectl-edit", update, `{"f:spec":{"f:b":{}}}`), of("cairn", apply, `{"f:spec":{"f:a":{}}}`),
			},
			stays: managedfields.Added,
		},
		"shared in an object": {
			before: []entry{
				of("kubectl-edit", update, `{"f:spec":{".":{},"f:b":{".":{},"f:c":{}},"f:d":{".":{}}}}`),
				of("cairn", apply, `{"f:spec":{"f:a":{},"f:b":{"f:c":{}}}}`),
			},
			after: []entry{
				of("kubectl-edit", update, `{"f:spec":{"f:d":{}}}`),
				of("cairn", apply, `{"f:spec":{".":{},"f:a":{},"f:b":{".":{},"f:c":{}}}}`),
			},
			stays: managedfields.Added,
		},
		"nothing shared": {
			before: []entry{other, of("kubectl-edit", update, `{"f:spec":{"f:b":{}}}`), ours}, stays: managedfields.Added,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := managedfields.TakeFromKubectl("cairn", &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{ManagedFields: tt.before},
			}, tt.stays)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(tt.after))
		})
	}
	g := NewWithT(t)
	_, err := managedfields.TakeFromKubectl("cairn", &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "x", ManagedFields: []entry{of("kubectl", apply, "{")}},
	}, nil)
	g.Expect(err).To(MatchError(HavePrefix("read managedFields of x: ")))
}
