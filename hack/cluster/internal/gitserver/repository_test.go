package gitserver

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

func TestNames(t *testing.T) {
	for asked, want := range map[string]string{
		"/team/repo.git":     "team/repo.git",
		"repo":               "repo.git",
		"/a/b/c/":            "a/b/c.git",
		"":                   "",
		"/":                  "",
		"..":                 "",
		"/a/../../etc":       "",
		"/.hidden":           "",
		"a//b":               "",
		"a/repo.git/objects": "",
		"a'b":                "",
		"-upload-pack":       "",
		"a\x00b":             "",
		"a b":                "",
		"repo.git.git":       "",
	} {
		t.Run(fmt.Sprintf("%q", asked), func(t *testing.T) {
			g := NewWithT(t)
			got, err := (&Repositories{}).name(asked)
			g.Expect(got).To(Equal(want))
			g.Expect(err == nil).To(Equal(want != ""))
		})
	}
}
