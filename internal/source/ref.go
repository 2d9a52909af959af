package source

import (
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// defaultBranch is the branch of an empty Ref. Flux uses master, but new repositories and our examples use main.
const defaultBranch = "main"

// Ref is a reference as in Flux's GitRepository. Commit takes precedence over Tag, and Tag over Branch.
type Ref struct {
	Branch string // without refs/heads/
	Tag    string // without refs/tags/
	Commit string // 40 hexadecimal digits; Branch says where to look for it
}

// Revision is a commit and the branch or tag by which it was found.
type Revision struct {
	Name string // of the branch or tag; empty for a commit alone
	Hash string // 40 hexadecimal digits
}

// String returns the form that Flux uses: "<branch>@sha1:<hash>", "<tag>@sha1:<hash>", or "sha1:<hash>" for a commit
// without a branch. It is empty for the zero value.
func (r Revision) String() string {
	switch {
	case r.Hash == "":
		return ""
	case r.Name == "":
		return "sha1:" + r.Hash
	}
	return r.Name + "@sha1:" + r.Hash
}

// IsZero reports whether the revision is not known yet.
func (r Revision) IsZero() bool { return r == Revision{} }

// parseRevision parses the result of String.
func parseRevision(text string) (Revision, error) {
	i := strings.LastIndex(text, "sha1:")
	if i < 0 || i > 0 && text[i-1] != '@' || i == 1 || !isHash(text[i+len("sha1:"):]) {
		return Revision{}, fmt.Errorf("revision %q must be <name>@sha1:<hash> or sha1:<hash>", text)
	}
	return Revision{Name: strings.TrimSuffix(text[:i], "@"), Hash: text[i+len("sha1:"):]}, nil
}

// name returns the full name of the ref to look up. It is empty for a commit.
func (r Ref) name() (plumbing.ReferenceName, error) {
	name := plumbing.NewBranchReferenceName(r.branch())
	switch {
	case r.Commit != "" && !isHash(r.Commit):
		return "", fail(ErrRefNotFound, "commit %q is not a full hash: give all 40 hexadecimal digits in ref.commit",
			r.Commit)
	case r.Commit != "" && r.Branch == "":
		return "", nil
	case r.Commit == "" && r.Tag != "":
		name = plumbing.NewTagReferenceName(r.Tag)
	}
	if name.Validate() != nil || strings.HasPrefix(r.short(), "refs/") || strings.HasPrefix(r.short(), "-") {
		return "", fail(ErrRefNotFound,
			"%q can't be the name of a branch or tag: write it without refs/heads/ or refs/tags/",
			r.short())
	}
	if r.Commit != "" {
		return "", nil
	}
	return name, nil
}

// Followed names what a ref follows: "branch main", "tag v1" or "commit <hash>".
func (r Ref) Followed() string {
	switch {
	case r.Commit != "":
		return "commit " + r.Commit
	case r.Tag != "":
		return "tag " + r.Tag
	}
	return "branch " + r.branch()
}

// short returns the name as the user wrote it.
func (r Ref) short() string {
	if r.Commit == "" && r.Tag != "" {
		return r.Tag
	}
	return r.branch()
}

func (r Ref) branch() string {
	if r.Branch == "" {
		return defaultBranch
	}
	return r.Branch
}

// pinned returns the revision of a Ref with a commit.
func (r Ref) pinned() Revision {
	return Revision{Name: r.Branch, Hash: strings.ToLower(r.Commit)}
}

func isHash(s string) bool { return len(s) == 40 && plumbing.IsHash(s) }
