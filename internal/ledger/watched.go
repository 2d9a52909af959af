package ledger

import (
	"strings"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Source is an object that follows a Git branch.
type Source struct {
	Kind, Namespace, Name string
	// URL is the URL of the repository.
	URL string
	// Ref is the branch, as a name or as refs/heads/<name>. It is empty for a source that follows a tag or a commit.
	Ref string
}

// FollowsBranch reports whether one of the sources follows the branch to which a Ledger wants to write, and which one:
// "<kind>/<namespace>/<name>". All spellings of one repository count as the same, whatever the path of the source:
// what a Ledger writes must never become policy. Of several sources it is always the same one, in whatever order they
// come.
func FollowsBranch(ledgerURL, branch string, sources []Source) (who string, watched bool) {
	where, err := gitstore.NormalizeURL(ledgerURL)
	if err != nil {
		return "", false // a URL that does not parse can't be written to either
	}
	branch = strings.TrimPrefix(branch, "refs/heads/")
	for _, s := range sources {
		ref := strings.TrimPrefix(s.Ref, "refs/heads/")
		// some servers keep refs as files on file systems that ignore case
		if ref == "" || !strings.EqualFold(ref, branch) {
			continue
		}
		if u, err := gitstore.NormalizeURL(s.URL); err == nil && u == where {
			if name := s.Kind + "/" + s.Namespace + "/" + s.Name; who == "" || name < who {
				who = name
			}
		}
	}
	return who, who != ""
}
