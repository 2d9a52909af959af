package ledger

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Claim is what an object can say for itself where a Ledger and a source of policy name the same branch.
type Claim struct {
	Created time.Time
	UID     types.UID
	// Proved reports that the object has had access to the branch: the server has accepted a push of a Ledger, or a
	// source has read it.
	Proved bool
}

// Before reports whether a claim goes before another: that with a proof, else the older one. Of two different claims,
// always exactly one goes first.
func (c Claim) Before(other Claim) bool {
	if c.Proved != other.Proved {
		return c.Proved
	}
	return cmp.Or(c.Created.Compare(other.Created), cmp.Compare(c.UID, other.UID)) < 0
}

// ClaimOf returns the claim of a Ledger on its branch.
func ClaimOf(l *v1alpha1.Ledger) Claim {
	return Claim{
		Created: l.CreationTimestamp.Time, UID: l.UID,
		Proved: proved(l),
	}
}

// proved reports whether the server has accepted a push of the Ledger to its branch. Versions before status.provedTo
// noted only where the last commit is, and when they pushed.
func proved(l *v1alpha1.Ledger) bool {
	here, noted := PushedTo(l), l.Status.ProvedTo
	if noted == "" && l.Status.LastPushedTime != nil {
		noted = l.Status.LastPushedTo
	}
	return here != "" && noted == here
}

// PushedTo identifies the branch of a Ledger, however its URL is spelled. It is "" if the URL is wrong.
func PushedTo(l *v1alpha1.Ledger) string { return place(l.Spec.URL, l.Spec.Branch) }

// ClaimOfSync returns the claim of a PolicySync on its branch.
func ClaimOfSync(p *v1alpha1.PolicySync) Claim {
	from := FetchedFrom(p)
	return Claim{
		Created: p.CreationTimestamp.Time, UID: p.UID, Proved: from != "" && p.Status.LastFetchedFrom == from,
	}
}

// FetchedFrom identifies the branch that a PolicySync follows, however its URL is spelled. It is "" if the URL is
// wrong, or the PolicySync follows a tag or a commit.
func FetchedFrom(p *v1alpha1.PolicySync) string {
	branch := Branch(p)
	if branch == "" {
		return ""
	}
	return place(p.Spec.URL, branch)
}

// Branch returns the branch that a PolicySync follows, or "".
func Branch(p *v1alpha1.PolicySync) string {
	if ref := p.Spec.Ref; ref != nil && *ref != (v1alpha1.GitRef{}) {
		return ref.Branch
	}
	return "main"
}

func place(url, branch string) string {
	where, err := gitstore.NormalizeURL(url)
	if err != nil {
		return ""
	}
	return where + "@" + branch
}

// Source is an object that follows a Git branch.
type Source struct {
	Kind, Namespace, Name string
	// URL is the URL of the repository.
	URL string
	// Ref is the branch, as a name or as refs/heads/<name>. It is empty for a source that follows a tag or a commit.
	Ref string
	// Claim is the claim of the source on its branch.
	Claim Claim
	// Foreign is true of a source that Cairn can't refuse.
	Foreign bool
}

// SourceOf returns a PolicySync as a source.
func SourceOf(p *v1alpha1.PolicySync) Source {
	return Source{
		Kind: v1alpha1.PolicySyncKind, Namespace: p.Namespace, Name: p.Name, URL: p.Spec.URL, Ref: Branch(p),
		Claim: ClaimOfSync(p),
	}
}

func (s Source) String() string { return s.Kind + "/" + s.Namespace + "/" + s.Name }

// Stops reports whether a source that follows the branch of a Ledger keeps the Ledger from writing there. Nothing stops
// a Ledger whose push the server has accepted: everybody can read a public branch, and be older. A source that Cairn
// can't refuse stops others only if it has read the branch: anybody can name one.
func (s Source) Stops(l Claim) bool {
	return !l.Proved && s.Claim.Before(l) && (s.Claim.Proved || !s.Foreign)
}

// Follows reports whether a source follows a branch of a repository. All spellings of one repository count as the same,
// whatever the path of the source: what a Ledger writes must never become policy.
func (s Source) Follows(url, branch string) bool {
	ref := strings.TrimPrefix(s.Ref, "refs/heads/")
	// some servers keep refs as files on file systems that ignore case
	if ref == "" || !strings.EqualFold(ref, strings.TrimPrefix(branch, "refs/heads/")) {
		return false
	}
	where, err := gitstore.NormalizeURL(url)
	if err != nil {
		return false // a URL that does not parse can't be written to either
	}
	other, err := gitstore.NormalizeURL(s.URL)
	return err == nil && other == where
}

// Following returns the sources that follow the branch of a Ledger, in the order of their names, in whatever order they
// come.
func Following(l *v1alpha1.Ledger, sources []Source) []Source {
	out := slices.DeleteFunc(slices.Clone(sources), func(s Source) bool {
		return !s.Follows(l.Spec.URL, l.Spec.Branch)
	})
	slices.SortFunc(out, func(a, b Source) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

// Refuses reports whether a Ledger keeps a PolicySync from its branch: one whose push the server has accepted keeps
// everybody. While the Ledger is about to push there for the first time, the PolicySync only waits. A Ledger that never
// pushed keeps nobody from policy.
func Refuses(l *v1alpha1.Ledger, p *v1alpha1.PolicySync) (refuses, waits bool) {
	if v1alpha1.HasRecordAnnotation(l.Annotations) || !SourceOf(p).Follows(l.Spec.URL, l.Spec.Branch) {
		return false, false
	}
	if ClaimOf(l).Proved {
		return true, false
	}
	return false, l.Status.PushingTo != "" && l.Status.PushingTo == PushedTo(l)
}

// Shares reports whether two Ledgers keep one page, and each may show what the other records: they write into the same
// folder of the same branch, and reach it at the same port. Another port can be the server of somebody else.
func Shares(a, b *v1alpha1.Ledger) bool {
	here, err := gitstore.Endpoint(a.Spec.URL)
	if err != nil {
		return false
	}
	there, err := gitstore.Endpoint(b.Spec.URL)
	return err == nil && here == there && Place(a) == Place(b)
}

// Place identifies the folder of a Ledger in its branch, however its URL is spelled. It is "" if the URL is wrong.
func Place(l *v1alpha1.Ledger) string {
	where := PushedTo(l)
	if where == "" {
		return ""
	}
	return where + "/" + Folder(l.Spec.Path, l.Spec.ClusterName)
}

// FluxClaim returns the claim of a GitRepository of Flux on the branch that it follows. Its artifact proves that Flux
// has read the branch, if the artifact is of that branch: the spec can have changed since.
func FluxClaim(meta metav1.Object, ref, artifact string) Claim {
	branch := strings.TrimPrefix(ref, "refs/heads/")
	of := strings.TrimPrefix(artifact, "refs/heads/")
	if at := strings.LastIndexAny(of, "@/"); at >= 0 {
		of = of[:at]
	}
	return Claim{
		Created: meta.GetCreationTimestamp().Time, UID: meta.GetUID(),
		Proved: artifact != "" && strings.EqualFold(of, branch),
	}
}
