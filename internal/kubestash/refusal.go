package kubestash

import (
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// never lists the rules by which a CRD refuses every value of a field that it knows.
var never = []string{"false", "!self", "size(self) == 0"}

// RefusalMessage returns the sentence with which a CRD refuses every meaningful value of a field, or "".
func RefusalMessage(field apiextensionsv1.JSONSchemaProps) string {
	for _, rule := range field.XValidations {
		if slices.Contains(never, rule.Rule) {
			return rule.Message
		}
	}
	return ""
}

// At returns the schema of a field by its path.
func At(s apiextensionsv1.JSONSchemaProps, path string) (apiextensionsv1.JSONSchemaProps, bool) {
	for step := range strings.SplitSeq(path, ".") {
		name := strings.TrimSuffix(step, "[]")
		switch {
		case name == "<key>" && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
			s = *s.AdditionalProperties.Schema
		default:
			next, ok := s.Properties[name]
			if !ok {
				return s, false
			}
			s = next
		}
		if name != step {
			if s.Items == nil || s.Items.Schema == nil {
				return s, false
			}
			s = *s.Items.Schema
		}
	}
	return s, true
}
