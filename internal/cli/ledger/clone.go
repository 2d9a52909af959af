package ledger

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// readClone reads the records branch of a clone. A commit is a Ledger's if it changed the folder of the records.
func readClone(ctx context.Context, f *ledgerLogFlags) ([]entry, error) {
	repository, err := git.PlainOpenWithOptions(f.dir, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	// the search upwards for .git finds no bare clone, so it comes second
	if errors.Is(err, git.ErrRepositoryNotExists) {
		repository, err = git.PlainOpenWithOptions(
			f.dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	}
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil,
			fmt.Errorf("%s is not a Git clone: name one with --dir, or read the remote of a Ledger with --ledger",
				f.dir)
	} else if err != nil {
		return nil, fmt.Errorf("open clone %s: %w", f.dir, err)
	}
	commit, err := tipOf(repository, f.branch)
	if err != nil {
		return nil, err
	}
	folder := ledger.Folder(f.path, f.cluster)
	if f.cluster == "" {
		folder = path.Dir(ledger.Folder(f.path, "any")) // the folder of all clusters
	}
	var out []entry
	for commit != nil && len(out) < f.limit {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		parent, err := parentOf(commit)
		if err != nil {
			return nil, err
		}
		changed, err := changes(commit, parent, folder)
		if err != nil {
			return nil, fmt.Errorf("read commit %s: %w", command.ShortCommit(commit.Hash.String()), err)
		}
		if changed {
			parsed, _ := ledger.ParseMessage(commit.Message)
			parsed.Hash, parsed.Time = commit.Hash.String(), commit.Committer.When.UTC()
			out = append(out, entryOf(parsed))
		}
		commit = parent
	}
	return out, nil
}

// tipOf returns the tip of the branch: of the remote-tracking branch, else of the clone's own.
func tipOf(repository *git.Repository, branch string) (*object.Commit, error) {
	for _, name := range []plumbing.ReferenceName{
		plumbing.NewRemoteReferenceName(git.DefaultRemoteName, branch),
		plumbing.NewBranchReferenceName(branch),
	} {
		ref, err := repository.Reference(name, true)
		if errors.Is(err, plumbing.ErrReferenceNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		commit, err := repository.CommitObject(ref.Hash())
		if err != nil {
			return nil, fmt.Errorf("read the tip of %s: %w", name, err)
		}
		return commit, nil
	}
	return nil, fmt.Errorf("the clone has no branch %s: fetch it with \"git fetch origin %s:%s\", or name another "+
		"branch with --branch", branch, branch, branch)
}

// parentOf returns the first parent. It is nil at the beginning of the history and where a shallow clone ends.
func parentOf(c *object.Commit) (*object.Commit, error) {
	if c.NumParents() == 0 {
		return nil, nil
	}
	parent, err := c.Parent(0)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the parent of commit %s: %w", command.ShortCommit(c.Hash.String()), err)
	}
	return parent, nil
}

// changes reports whether a commit changed the content of a folder.
func changes(c, parent *object.Commit, folder string) (bool, error) {
	now, err := treeAt(c, folder)
	if err != nil || parent == nil {
		return !now.IsZero(), err
	}
	before, err := treeAt(parent, folder)
	return now != before, err
}

func treeAt(c *object.Commit, folder string) (plumbing.Hash, error) {
	tree, err := c.Tree()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if folder == "." || folder == "" {
		return tree.Hash, nil
	}
	entry, err := tree.FindEntry(folder)
	if errors.Is(err, object.ErrDirectoryNotFound) || errors.Is(err, object.ErrEntryNotFound) {
		return plumbing.ZeroHash, nil
	}
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return entry.Hash, nil
}
