package variables_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/variables"
)

// Scopes are in repositories. With other values the first dump after an upgrade would be compared with nothing.
func TestTheScopeOfAStreamStaysAsItIs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		selects []string
		set     map[string]string
		want    string
		says    string
	}{
		"nothing said":       {},
		"everything":         {selects: []string{"${tables}"}, want: "b0b9d9054c1ecee1"},
		"everything of more": {selects: []string{"${new:=}", "${tables}"}, want: "b0b9d9054c1ecee1"},
		"tables": {
			selects: []string{"${tables}"}, set: map[string]string{"tables": "a,b"}, want: "8db669486aec1e72",
		},
		"tables of more": {
			selects: []string{"${new:=}", "${tables}"}, set: map[string]string{"tables": " a, b"},
			want: "8db669486aec1e72",
		},
		"schemas": {
			selects: []string{"${schemas}"}, set: map[string]string{"schemas": "a,b"}, want: "7666c01bbcea9556",
		},
		"an unknown": {selects: []string{"${tabels}"}, says: "stream.selects: ${tabels} is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			values := variables.Values{}.With(map[string]string{"tables": "", "schemas": ""}).With(tc.set)
			stream, err := values.Stream(&v1alpha1.FunctionStream{
				Command: []string{"dump"}, FileName: "dump.sql", Selects: tc.selects,
			}, "shop")
			if tc.says != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.says)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(stream.Scope).To(Equal(tc.want))
		})
	}
}
