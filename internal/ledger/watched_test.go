package ledger

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestWatched(t *testing.T) {
	tests := map[string]struct {
		url, branch string
		source      Source
		want        bool
	}{
		"the same repository and branch": {
			"https://git.example/a/b.git", "main",
			Source{URL: "https://git.example/a/b", Ref: "main"},
			true,
		},
		"another spelling of the repository": {
			"https://git.example/a/b", "main",
			Source{URL: "ssh://git@GIT.example:22/A/B.git", Ref: "main"},
			true,
		},
		"a full ref": {
			"https://git.example/a/b", "main",
			Source{URL: "https://git.example/a/b", Ref: "refs/heads/main"},
			true,
		},
		"another case": {
			"https://git.example/a/b", "Main",
			Source{URL: "https://git.example/a/b", Ref: "main"},
			true,
		},
		"another branch": {
			"https://git.example/a/b", "backup-records",
			Source{URL: "https://git.example/a/b", Ref: "main"},
			false,
		},
		"another repository": {
			"https://git.example/a/b", "main",
			Source{URL: "https://git.example/a/c", Ref: "main"},
			false,
		},
		"a source that follows no branch": {
			"https://git.example/a/b", "main",
			Source{URL: "https://git.example/a/b"},
			false,
		},
		"a tag of the branch's name": {
			"https://git.example/a/b", "main",
			Source{URL: "https://git.example/a/b", Ref: "refs/tags/main"},
			false,
		},
		"a source whose url cannot be read": {
			"https://git.example/a/b", "main", Source{URL: "::", Ref: "main"}, false,
		},
		"a Ledger that names no repository yet": {"", "main", Source{URL: "", Ref: "main"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tt.source.Kind, tt.source.Namespace, tt.source.Name = "PolicySync", "shop", "policy"
			who, watched := FollowsBranch(tt.url, tt.branch,
				[]Source{{Kind: "PolicySync", Name: "x", URL: "https://other.example/x", Ref: "main"}, tt.source})
			g.Expect(watched).To(Equal(tt.want))
			if tt.want {
				g.Expect(who).To(Equal("PolicySync/shop/policy"))
			}
		})
	}
}

// The lists of a cache have no order. To name another one each time would be a write and an event at each look.
func TestOfSeveralSourcesTheSameIsNamedInWhateverOrderTheyCome(t *testing.T) {
	g := NewWithT(t)
	source := func(name string) Source {
		return Source{Kind: "PolicySync", Namespace: "shop", Name: name, URL: "https://git.example/a/b", Ref: "main"}
	}
	for _, sources := range [][]Source{{source("a"), source("b")}, {source("b"), source("a")}} {
		who, watched := FollowsBranch("https://git.example/a/b", "main", sources)
		g.Expect(watched).To(BeTrue())
		g.Expect(who).To(Equal("PolicySync/shop/a"))
	}
}
