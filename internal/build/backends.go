package build

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cairn-backup/cairn/internal/policy"
)

// unknownBackends replaces the schema's error about unknown backends by one that names the field and the backend. The
// object passed the schema, so its types are right.
func (c *objectCheck) unknownBackends(object map[string]any, errs field.ErrorList) field.ErrorList {
	var out field.ErrorList
	for _, e := range errs {
		if !strings.Contains(e.Detail, "must be a name of spec.backends") || !c.reportBackends(object) {
			out = append(out, e)
		}
	}
	return out
}

func (c *objectCheck) reportBackends(object map[string]any) (found bool) {
	known := map[string]bool{}
	var names []string
	backends, _, _ := unstructured.NestedSlice(object, "spec", "backends")
	for _, b := range backends {
		name, _ := b.(map[string]any)["name"].(string)
		if name != "" {
			known[name] = true
			names = append(names, name)
		}
	}
	sessions, _, _ := unstructured.NestedSlice(object, "spec", "sessions")
	for i, s := range sessions {
		repositories, _, _ := unstructured.NestedSlice(s.(map[string]any), "repositories")
		for j, r := range repositories {
			name, _ := r.(map[string]any)["backend"].(string)
			if name != "" && !known[name] {
				c.fail(fmt.Sprintf("spec.sessions[%d].repositories[%d].backend", i, j),
					"%s", policy.NotListed("spec.backends", "backend", name, names))
				found = true
			}
		}
	}
	return found
}
