package database

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// TypeOf returns the type of a database according to the object that describes it: spec.type of an AppBinding, or the
// type of a Secret of the Service Binding specification, else its key type. Other objects have no type. Of a Secret's
// content, TypeOf returns only the name of a known type.
func TypeOf(o runtime.Object) string {
	switch o := o.(type) {
	case *corev1.Secret:
		if !strings.HasPrefix(string(o.Type), serviceBinding) {
			return ""
		}
		if inside := string(o.Data["type"]); catalog.AddonForDatabaseType(string(o.Type)) == "" &&
			catalog.AddonForDatabaseType(inside) != "" {
			return inside
		}
		return string(o.Type)
	case *unstructured.Unstructured:
		if o.GetKind() == v1alpha1.KindAppBinding {
			return text(o, "spec", "type")
		}
	}
	return ""
}
