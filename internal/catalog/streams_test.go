package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
)

// The search path of a restore becomes SQL.
func TestTheSearchPathOfARestore(t *testing.T) {
	t.Parallel()
	functions, addons := catalogtest.Shipped(t)
	lookup := func(name string) *v1alpha1.Function { return functions[name] }
	for _, addon := range addons {
		if addon.Name != "postgres-addon" {
			continue
		}
		for params, want := range map[string]string{
			`{}`: "", `{"searchPath":"public, \"a b\""}`: `public, "a b"`, `{"searchPath":"public; DROP TABLE t"}`: "refused",
		} {
			g := NewWithT(t)
			streams, refusal := catalog.Streams(addon, lookup, v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
				Name: "logical-backup-restore", Params: &apiextensionsv1.JSON{Raw: []byte(params)},
			}}}, true, catalogtest.CatalogVariables(addon.Name), []string{"dump", "dump-shop"})
			if want == "refused" {
				g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonInvalidParameters))
				continue
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(streams).To(HaveEach(HaveField("Stream.SearchPath", want)))
			g.Expect(streams).To(HaveLen(2))
		}
	}
}
