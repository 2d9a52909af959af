// Package catalogtest reads the shipped catalog for tests.
package catalogtest

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/policies"
)

// Shipped returns the built-in Functions and Addons.
func Shipped(t testing.TB) (functions map[string]*v1alpha1.Function, addons []*v1alpha1.Addon) {
	t.Helper()
	g := NewWithT(t)
	functions = map[string]*v1alpha1.Function{}
	entries, err := policies.Catalog.ReadDir("catalog")
	g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		file, err := policies.Catalog.Open("catalog/" + entry.Name())
		g.Expect(err).NotTo(HaveOccurred())
		decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
		for {
			var raw map[string]any
			if decoder.Decode(&raw) != nil {
				break
			}
			convert(t, raw, functions, &addons)
		}
		g.Expect(file.Close()).To(Succeed())
	}
	g.Expect(addons).NotTo(BeEmpty())
	return functions, addons
}

// NeededParams returns the parameters that a task needs, all of which are images.
func NeededParams(t v1alpha1.Task) string {
	var out []string
	for _, p := range t.Parameters {
		if p.Required {
			out = append(out, `"`+p.Name+`":"database:v1"`)
		}
	}
	return strings.Join(out, ",")
}

// CatalogVariables returns what is known about the target of a built-in Addon.
func CatalogVariables(addon string) catalog.Variables {
	vars := catalog.Variables{MoverImage: "mover:v1"}
	if addon != "pvc-addon" && addon != "workload-addon" {
		vars.TargetHost, vars.TargetPort, vars.TargetImage = "db.shop.svc", "1234", "database:v1"
	}
	return vars
}

// convert sorts one object of the catalog into functions or addons.
func convert(t testing.TB, raw map[string]any, functions map[string]*v1alpha1.Function, addons *[]*v1alpha1.Addon) {
	t.Helper()
	g := NewWithT(t)
	switch raw["kind"] {
	case v1alpha1.FunctionKind:
		var f v1alpha1.Function
		g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw, &f, true)).To(Succeed())
		functions[f.Name] = &f
	case v1alpha1.AddonKind:
		var a v1alpha1.Addon
		g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw, &a, true)).To(Succeed())
		*addons = append(*addons, &a)
	default:
		t.Fatalf("the catalog has an unexpected %v", raw["kind"])
	}
}
