package kubestash_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/config"
	"github.com/cairn-backup/cairn/internal/kubestash"
)

// TestEveryField compares the table with the CRDs: Cairn has a field without a difference with the same type, it lacks
// a refused field, and every difference is about a field that KubeStash has.
func TestEveryField(t *testing.T) {
	schemas := crds(t)
	for _, kind := range kubestash.Kinds {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(schemas).To(HaveKey(kind))
			var wrong []string
			refused := "-"
			for _, f := range kubestash.Fields(kind) {
				have, found := kubestash.At(schemas[kind], f.Path)
				// The API server accepts these settings unchanged; readers use only the fields that a BackupStorage
				// has.
				if _, below, ok := strings.Cut(f.Path, ".runtimeSettings.pod."); ok &&
					strings.Contains(f.Path, "hooks.") {
					have, found = kubestash.At(schemas["BackupStorage"], "spec.runtimeSettings.pod."+below)
				}
				switch {
				case strings.HasPrefix(f.Path, refused):
				case f.Difference != nil && f.Difference.Refused && found:
					wrong = append(wrong, f.Path+": marked as refused, but the CRD accepts it")
				case f.Difference != nil:
				case !found:
					wrong = append(wrong, f.Path+" "+f.Type+": not in Cairn")
				case kubestash.RefusalMessage(have) != "":
					refused = f.Path
				case !matches(f.Type, have):
					wrong = append(wrong, fmt.Sprintf("%s: %s in KubeStash, %s here", f.Path, f.Type, have.Type))
				}
			}
			if len(wrong) > 0 {
				t.Errorf("%s", strings.Join(wrong, "\n"))
			}
		})
	}
}

// matches reports whether a schema accepts what KubeStash's type accepts.
func matches(kind string, s apiextensionsv1.JSONSchemaProps) bool {
	switch {
	case strings.HasPrefix(kind, "[]"):
		return s.Type == "array" && s.Items != nil && s.Items.Schema != nil && matches(kind[2:], *s.Items.Schema)
	case strings.HasPrefix(kind, "map["):
		return s.Type == "object" && s.AdditionalProperties != nil
	case kind == "string", kind == "integer", kind == "boolean":
		return s.Type == kind
	case kind == "time":
		return s.Type == "string" && s.Format == "date-time"
	default:
		return s.Type == "object"
	}
}

func crds(t testing.TB) map[string]apiextensionsv1.JSONSchemaProps {
	t.Helper()
	files, err := fs.Glob(config.CRDs, "crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]apiextensionsv1.JSONSchemaProps{}
	for _, file := range files {
		text, err := fs.ReadFile(config.CRDs, file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		out[crd.Spec.Names.Kind] = *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	return out
}
