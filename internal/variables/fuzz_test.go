package variables_test

import (
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/internal/variables"
)

// FuzzExpand looks for templates that panic and for values that are expanded again: a value must appear in the result
// unchanged.
func FuzzExpand(f *testing.F) {
	for _, text := range []string{"${v}", "a${v:=x}b", "${v=${v}}", "$${v}", "${v:-}${", "}${v}{$"} {
		f.Add(text, "${namespace}")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		values := variables.New(variables.Builtin{Namespace: "shop"}).With(map[string]string{"v": value})
		got, err := values.Expand("${v}" + text)
		if err == nil && !strings.HasPrefix(got, value) {
			t.Errorf("%q with v=%q is %q", text, value, got)
		}
	})
}
