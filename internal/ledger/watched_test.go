package ledger

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func ledgerOn(url, branch string) *v1alpha1.Ledger {
	l := &v1alpha1.Ledger{}
	l.Spec.URL, l.Spec.Branch = url, branch
	return l
}

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
			following := Following(ledgerOn(tt.url, tt.branch),
				[]Source{{Kind: "PolicySync", Name: "x", URL: "https://other.example/x", Ref: "main"}, tt.source})
			g.Expect(following).To(HaveLen(map[bool]int{true: 1}[tt.want]))
			for _, s := range following {
				g.Expect(s.String()).To(Equal("PolicySync/shop/policy"))
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
		following := Following(ledgerOn("https://git.example/a/b", "main"), sources)
		g.Expect(following).To(HaveLen(2))
		g.Expect(following[0].String()).To(Equal("PolicySync/shop/a"))
	}
}

// Whoever has proved access goes first, else the older one. Both sides come to the same result.
func TestWhoGetsABranch(t *testing.T) {
	t.Parallel()
	then := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	older, younger := Claim{Created: then, UID: "b"}, Claim{Created: then.Add(time.Second), UID: "a"}
	proved := func(c Claim) Claim {
		c.Proved = true
		return c
	}
	for name, tt := range map[string]struct {
		ledger, source Claim
		foreign, stops bool
	}{
		"an older Ledger that has pushed, and a PolicySync": {proved(older), younger, false, false},
		"a younger Ledger that has pushed":                  {proved(younger), older, false, false},
		"a PolicySync that has read, and an older Ledger":   {older, proved(younger), false, true},
		"both have proved, and the PolicySync is older":     {proved(younger), proved(older), false, false},
		"both have proved, and the Ledger is older":         {proved(older), proved(younger), false, false},
		"nobody has, and the PolicySync is older":           {younger, older, false, true},
		"nobody has, and the Ledger is older":               {older, younger, false, false},
		"made in the same second": {
			Claim{Created: then, UID: "b"}, Claim{Created: then, UID: "a"}, false, true,
		},
		"made in the same second, the other way": {
			Claim{Created: then, UID: "a"}, Claim{Created: then, UID: "b"}, false, false,
		},
		"Flux without an artifact":             {younger, older, true, false},
		"Flux with one, and a new Ledger":      {older, proved(younger), true, true},
		"a younger one of Flux with one":       {proved(older), proved(younger), true, false},
		"an older one of Flux with one":        {proved(younger), proved(older), true, false},
		"an older one of Flux without any":     {proved(younger), older, true, false},
		"Flux without one, and a young Ledger": {younger, older, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			g.Expect(Source{Claim: tt.source, Foreign: tt.foreign}.Stops(tt.ledger)).To(Equal(tt.stops))
			g.Expect(tt.source.Before(tt.ledger)).NotTo(Equal(tt.ledger.Before(tt.source)), "one goes first")
		})
	}
}

// TestALedgerProvesItsRightByAPush: to know a commit of a branch proves nothing. Whoever may read it knows one.
func TestALedgerProvesItsRightByAPush(t *testing.T) {
	t.Parallel()
	const url, here = "https://git.example/a/b.git", "git.example/a/b@records"
	for name, tt := range map[string]struct {
		url    string
		status v1alpha1.LedgerStatus
		want   bool
	}{
		"it did nothing":   {url, v1alpha1.LedgerStatus{}, false},
		"it read a commit": {url, v1alpha1.LedgerStatus{LastPushedCommit: "0123", LastPushedTo: here}, false},
		"it is about to push": {
			url, v1alpha1.LedgerStatus{LastPushedCommit: "0123", LastPushedTo: here, PushingTo: here}, false,
		},
		"its push was accepted":    {url, v1alpha1.LedgerStatus{ProvedTo: here}, true},
		"with another spelling":    {"ssh://git@GIT.example:22/A/B", v1alpha1.LedgerStatus{ProvedTo: here}, true},
		"in another branch":        {url, v1alpha1.LedgerStatus{ProvedTo: here + "-2", LastPushedTo: here}, false},
		"with a url that is wrong": {"::", v1alpha1.LedgerStatus{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, l := NewWithT(t), ledgerOn(tt.url, "records")
			l.Status = tt.status
			g.Expect(ClaimOf(l).Proved).To(Equal(tt.want))
			p := &v1alpha1.PolicySync{Spec: v1alpha1.PolicySyncSpec{
				URL: tt.url, Ref: &v1alpha1.GitRef{Branch: "records"},
			}}
			p.Status.LastFetchedFrom = FetchedFrom(p)
			refuses, _ := Refuses(l, p)
			g.Expect(refuses).To(Equal(tt.want), "also a PolicySync that has read the branch")
		})
	}
}

// TestAnOldGitRepositorySilencesNoLedger: everybody can read a public branch, and wait for years.
func TestAnOldGitRepositorySilencesNoLedger(t *testing.T) {
	t.Parallel()
	g, l := NewWithT(t), ledgerOn("https://git.example/a/b", "records")
	then := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	l.CreationTimestamp = metav1.NewTime(then)
	old := metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(then.AddDate(-1, 0, 0))}
	flux := Source{Claim: FluxClaim(&old, "records", "records@sha1:0123"), Foreign: true}
	p := &v1alpha1.PolicySync{ObjectMeta: old, Spec: v1alpha1.PolicySyncSpec{
		URL: l.Spec.URL, Ref: &v1alpha1.GitRef{Branch: "records"},
	}}
	p.Status.LastFetchedFrom = FetchedFrom(p)
	for _, s := range []Source{flux, SourceOf(p)} {
		l.Status = v1alpha1.LedgerStatus{}
		g.Expect(s.Stops(ClaimOf(l))).To(BeTrue(), "it never pushed")
		l.Status = v1alpha1.LedgerStatus{
			LastPushedCommit: "0123", LastPushedTo: PushedTo(l), ProvedTo: PushedTo(l),
		}
		g.Expect(s.Stops(ClaimOf(l))).To(BeFalse(), "it has pushed")
	}
}

func TestFluxClaim(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ref, artifact string
		want          bool
	}{
		"of this branch":            {"main", "main@sha1:0123", true},
		"of a branch with a slash":  {"a/b", "a/b@sha1:0123", true},
		"in the form of earlier":    {"a/b", "a/b/0123", true},
		"a full ref":                {"refs/heads/main", "refs/heads/main@sha1:0123", true},
		"in another letter case":    {"Main", "main@sha1:0123", true},
		"of the branch before":      {"backup-records", "main@sha1:0123", false},
		"of a commit":               {"main", "sha1:0123", false},
		"of a tag":                  {"main", "v1@sha1:0123", false},
		"of nothing":                {"main", "", false},
		"of a branch in its folder": {"main", "main/x@sha1:0123", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(FluxClaim(&metav1.ObjectMeta{}, tt.ref, tt.artifact).Proved).To(Equal(tt.want))
		})
	}
}

// A page is shared at one port only: another port of the host can be the server of a tenant.
func TestShares(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		a, b string
		want bool
	}{
		"one spelling":          {"https://git.example/a/b", "https://git.example/a/b", true},
		"default ports":         {"https://git.example/a/b.git", "ssh://git@GIT.example:22/A/b", true},
		"one port":              {"http://git.example:3000/a/b", "https://git.example:3000/a/b/", true},
		"names in the cluster":  {"http://git.ns.svc/a", "http://git.ns.svc.cluster.local/a", true},
		"another port":          {"http://git.example:3000/a/b", "http://git.example:30080/a/b", false},
		"a port beside default": {"http://git.example/a/b", "http://git.example:30080/a/b", false},
		"another repository":    {"https://git.example/a/b", "https://git.example/a/c", false},
		"no url":                {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(Shares(ledgerOn(tt.a, "records"), ledgerOn(tt.b, "records"))).To(Equal(tt.want))
		})
	}
}
