package database

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// TypeOf is the type of a database as the object says it that stands for it: an AppBinding in spec.type, a Secret of the Service
// Binding specification in its type, else in the key type. Other objects say none. Of what is in a Secret only the name of a type
// that is known is ever given.
func TypeOf(o runtime.Object) string {
	switch o := o.(type) {
	case *corev1.Secret:
		if !strings.HasPrefix(string(o.Type), serviceBinding) {
			return ""
		}
		if inside := string(o.Data["type"]); policy.ToldAddon(string(o.Type)) == "" && policy.ToldAddon(inside) != "" {
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
