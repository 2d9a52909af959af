package ledger

import (
	"strings"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Source is an object that follows a Git branch.
type Source struct {
	Kind, Namespace, Name string
	// URL of the repository.
	URL string
	// Ref is the branch, as a name or as refs/heads/<name>. Empty for a source that follows none: a tag or a commit.
	Ref string
}

// Watched says whether one of the sources follows the branch a Ledger wants to write to, and which:
// "<kind>/<namespace>/<name>". All spellings of one repository count as the same, whatever the path of the source: what a
// Ledger writes must never be able to become policy.
func Watched(ledgerURL, branch string, sources []Source) (who string, watched bool) {
	where, err := gitstore.NormalizeURL(ledgerURL)
	if err != nil {
		return "", false // a repository that cannot be named cannot be written to either
	}
	branch = strings.TrimPrefix(branch, "refs/heads/")
	for _, s := range sources {
		ref := strings.TrimPrefix(s.Ref, "refs/heads/")
		if ref == "" || !strings.EqualFold(ref, branch) { // servers keep refs as files, some on file systems without case
			continue
		}
		if u, err := gitstore.NormalizeURL(s.URL); err == nil && u == where {
			return s.Kind + "/" + s.Namespace + "/" + s.Name, true
		}
	}
	return "", false
}
