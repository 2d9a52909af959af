package build

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// patterns explains the regular expressions of fields.
var patterns = map[string]string{
	`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`: "is not a duration: write numbers with the units ms, s, m and h, " +
		"for example 90s or 1h30m",
	`^([0-9]{1,9}(y|mo|w|d|h|m))+$`: "is not a period: write whole numbers with the units y, mo, w, " +
		"d, h and m, for example 30d or 1y6mo",
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`: "is not a name: write lowercase letters, digits and dashes, with " +
		"a letter or digit at both ends",
	`^[A-Za-z_][A-Za-z0-9_]*$`: "is not the name of a variable: write letters, digits and " +
		"underscores, and no digit first",
	`^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\$\{[A-Z_]+\})$`: "is neither the name of a volume nor a variable such as " +
		"${INTERIM_VOLUME}",
	`^(https?|ssh)://`: "is not the URL of a Git repository: it must start with https://, http:// " +
		"or ssh://",
	`^[a-z0-9]{3,24}$`: "is not the name of a storage account: write 3 to 24 lowercase letters " +
		"and digits",
	`^[0-9a-f]{40}$`:                         "is not the full hash of a commit: write its 40 hexadecimal digits",
	`^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$`: "is not a SHA-256 fingerprint: write its 32 bytes in hexadecimal",
	`^(\.?/)*(\.?[^/.][^/]*|\.\.[^/]+)(/(\.?[^/.][^/]*|\.\.[^/]+|\.)?)*$`: "is not a directory below the root: " +
		"write a path such as /shop/web, without ..",
}

var shouldMatch = regexp.MustCompile(`^should match '(.*)'$`)

var shouldBeLong = regexp.MustCompile(`^should be at least (\d+) chars long$`)

// explainSchemaError explains the error of a schema whose own words need a reader of regular expressions.
func explainSchemaError(detail string) string {
	if m := shouldMatch.FindStringSubmatch(detail); m != nil {
		if s, known := patterns[m[1]]; known {
			return s
		}
	}
	switch m := shouldBeLong.FindStringSubmatch(detail); {
	case m == nil:
		return detail
	case m[1] == "1":
		return "is empty"
	default:
		return "is too short: write at least " + m[1] + " characters"
	}
}

// noTarget adds the kind and apiGroup of a refused target to the message.
func (c *objectCheck) noTarget(path, detail string) string {
	if !strings.HasPrefix(detail, "the target ") || c.node == nil {
		return detail
	}
	part := func(key string) string {
		if node, _ := find(c.node, join(path, key)); node != nil {
			return node.Value
		}
		return ""
	}
	group := "without apiGroup"
	if name := part("apiGroup"); name != "" {
		group = fmt.Sprintf("with apiGroup %q", name)
	}
	return fmt.Sprintf("kind %q %s is no target: %s", part("kind"), group, detail)
}

// wrongTypes explains in errs which values have another type than their fields.
func (c *objectCheck) wrongTypes(s *structural.Structural, errs field.ErrorList) {
	for _, e := range errs {
		m := typeDetail.FindStringSubmatch(inBody.ReplaceAllString(e.Detail, ""))
		if e.Type != field.ErrorTypeTypeInvalid || m == nil {
			continue
		}
		e.Detail = fmt.Sprintf("is %s, must be %s", cmp.Or(types[m[2]], m[2]), cmp.Or(types[m[1]], m[1]))
		if m[1] != "string" || m[2] == "null" || m[2] == "array" || m[2] == "object" {
			continue
		}
		if pattern := patternOf(s, pathOf(e)); !c.fits(pattern, pathOf(e)) && patterns[pattern] != "" {
			e.Detail = patterns[pattern] // quotes would not be enough
			continue
		}
		e.Detail += ": put it in quotes"
	}
}

// fits reports whether the value at path matches a regular expression.
func (c *objectCheck) fits(pattern, path string) bool {
	ok, err := regexp.MatchString(pattern, c.written(path))
	return ok || err != nil
}

// written returns the value at path as the file writes it. If a kustomization made or changed the value, written
// returns its usual form.
func (c *objectCheck) written(path string) string {
	value := fmt.Sprint(valueAt(c.u.Object, path))
	if c.node == nil {
		return value
	}
	var in any
	if node, _ := find(c.node, path); node != nil && node.Decode(&in) == nil && fmt.Sprint(in) == value {
		return node.Value
	}
	return value
}

// valueAt returns the value at path in an object, or nil.
func valueAt(object any, path string) any {
	for _, key := range split(path) {
		switch in := object.(type) {
		case map[string]any:
			object = in[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			object = in[i]
		default:
			return nil
		}
	}
	return object
}

// patternOf returns the regular expression of the field at path, or "".
func patternOf(s *structural.Structural, path string) string {
	for _, key := range split(path) {
		next, ok := s.Properties[key]
		switch {
		case ok:
			s = &next
		case s.Items != nil:
			s = s.Items
		default:
			return ""
		}
	}
	if s.ValueValidation == nil {
		return ""
	}
	return s.ValueValidation.Pattern
}

var typeDetail = regexp.MustCompile(`^must be of type (\w+): "(\w+)"$`)

// types are the types of JSON in words.
var types = map[string]string{
	"null": "empty", "string": "a string", "integer": "an integer", "number": "a number",
	"boolean": "true or false", "array": "a list", "object": "an object (keys with values)",
}

// article returns a kind with its article.
func article(kind string) string {
	if strings.ContainsRune("AEIO", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}
