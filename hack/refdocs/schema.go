package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/hack/kubetypes"
)

// schema is the schema of an object or field in a CRD.
type schema = apiextensionsv1.JSONSchemaProps

// field is one field of a kind: a row of its table.
type field struct {
	path, kind, defaulted, description string
	required                           bool
	rules                              []string
}

// fields lists all fields below s, depth first and in alphabetical order, as the CRD does.
func fields(prefix string, s schema) []field {
	var out []field
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		out = append(out, fieldOf(join(prefix, name), p, slices.Contains(s.Required, name)))
		out = append(out, below(join(prefix, name), p)...)
	}
	return out
}

// below lists the fields inside a field. It does not list the fields of Kubernetes' own types.
func below(path string, s schema) []field {
	switch {
	case kubernetesType(s) != "":
		return nil
	case s.Items != nil && s.Items.Schema != nil:
		return below(path+"[]", *s.Items.Schema)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return below(join(path, "<key>"), *s.AdditionalProperties.Schema)
	default:
		return fields(path, s)
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

func fieldOf(path string, s schema, required bool) field {
	f := field{path: path, kind: typeOf(s), description: s.Description, required: required, rules: rules(s)}
	if s.Default != nil {
		f.defaulted = string(s.Default.Raw)
	}
	return f
}

// kubernetesType returns the name of the type of Kubernetes that s describes, or "".
func kubernetesType(s schema) string {
	if s.Items != nil && s.Items.Schema != nil {
		return kubernetesType(*s.Items.Schema)
	}
	return kubetypes.Name(func(field string) bool { _, ok := s.Properties[field]; return ok })
}

// typeOf returns the type in a few words.
func typeOf(s schema) string {
	switch {
	case s.XIntOrString:
		return "integer or string"
	case s.Type == "array" && s.Items != nil && s.Items.Schema != nil:
		return "[]" + typeOf(*s.Items.Schema)
	case kubernetesType(s) != "":
		return kubernetesType(s)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map of " + typeOf(*s.AdditionalProperties.Schema)
	case s.Format == "date-time":
		return "time"
	case s.Type == "":
		return "any"
	default:
		return s.Type
	}
}

// rules describes what the API server checks besides the type, for the field itself and for the entries of a list.
func rules(s schema) []string {
	var out []string
	for _, r := range s.XValidations {
		out = append(out, ruleOf(r))
	}
	if len(s.Enum) > 0 {
		out = append(out, "one of "+codes(enum(s)))
	}
	if s.Pattern != "" {
		out = append(out, "matches "+code(s.Pattern))
	}
	out = append(out, bounds(s.MinLength, s.MaxLength, "characters")...)
	out = append(out, bounds(s.MinItems, s.MaxItems, "entries")...)
	out = append(out, bounds(s.MinProperties, s.MaxProperties, "keys")...)
	if s.Minimum != nil {
		out = append(out, fmt.Sprintf("at least %v", *s.Minimum))
	}
	if s.Maximum != nil {
		out = append(out, fmt.Sprintf("at most %v", *s.Maximum))
	}
	if len(s.XListMapKeys) > 0 {
		out = append(out, "no two entries with the same "+strings.Join(s.XListMapKeys, " and "))
	}
	for _, inner := range []*schema{itemsOf(s), valuesOf(s)} {
		if inner != nil && kubernetesType(*inner) == "" {
			for _, r := range rules(*inner) {
				out = append(out, "each: "+r)
			}
		}
	}
	return out
}

// ruleOf returns the message of a rule, which users get to see, or else the rule itself.
func ruleOf(r apiextensionsv1.ValidationRule) string {
	if r.Message != "" {
		return plain(r.Message)
	}
	return code(r.Rule)
}

func itemsOf(s schema) *schema {
	if s.Items == nil {
		return nil
	}
	return s.Items.Schema
}

func valuesOf(s schema) *schema {
	if s.AdditionalProperties == nil {
		return nil
	}
	return s.AdditionalProperties.Schema
}

func enum(s schema) []string {
	out := make([]string, len(s.Enum))
	for i, e := range s.Enum {
		out[i] = strings.Trim(string(e.Raw), `"`)
	}
	return out
}

// bounds describes a lower and an upper limit in one phrase.
func bounds(least, most *int64, unit string) []string {
	switch {
	case least != nil && *least > 0 && most != nil:
		return []string{fmt.Sprintf("%d to %d %s", *least, *most, unit)}
	case least != nil && *least > 0:
		return []string{fmt.Sprintf("at least %d %s", *least, unit)}
	case most != nil:
		return []string{fmt.Sprintf("at most %d %s", *most, unit)}
	default:
		return nil
	}
}
