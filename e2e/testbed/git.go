package testbed

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Checkout is a working copy of a repository on the Git server, used through the real git as a person would.
type Checkout struct {
	// Dir of the working copy.
	Dir string
	env []string
}

// Clone makes a working copy of a repository, or an empty one where the repository does not exist yet.
func (t *Testbed) Clone(ctx context.Context, dir, repository, branch string) (*Checkout, error) {
	u, err := url.Parse(t.Git.HostURL)
	if err != nil {
		return nil, fmt.Errorf("parse the Git server's address: %w", err)
	}
	u.User = url.UserPassword(t.Git.Username, t.Git.Password)
	u.Path = "/" + repository + ".git"
	c := &Checkout{Dir: dir, env: append(os.Environ(),
		"LC_ALL=C", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Robin", "GIT_AUTHOR_EMAIL=robin@example.com",
		"GIT_COMMITTER_NAME=Robin", "GIT_COMMITTER_EMAIL=robin@example.com")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the working copy: %w", err)
	}
	if _, err := c.Git(ctx, "init", "--quiet", "--initial-branch="+branch); err != nil {
		return nil, err
	}
	if _, err := c.Git(ctx, "remote", "add", "origin", u.String()); err != nil {
		return nil, err
	}
	if _, err := c.Git(ctx, "fetch", "--quiet", "origin", branch); err != nil {
		if nothingThere.MatchString(err.Error()) {
			return c, nil
		}
		return nil, err
	}
	if _, err := c.Git(ctx, "reset", "--quiet", "--hard", "FETCH_HEAD"); err != nil {
		return nil, err
	}
	return c, nil
}

// nothingThere is what git says of a repository or a branch that nobody has pushed to.
var nothingThere = regexp.MustCompile(`repository '.*' not found|couldn't find remote ref`)

// Git runs git in the working copy and returns what it printed. Errors hold no password.
func (c *Checkout) Git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = c.Dir, c.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, redact(string(out)))
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// userInfo is the part of a URL before the host.
var userInfo = regexp.MustCompile(`://[^/@\s]*@`)

func redact(s string) string { return userInfo.ReplaceAllString(s, "://") }

// Write puts a file into the working copy. Empty content removes it.
func (c *Checkout) Write(path, content string) error {
	full := filepath.Join(c.Dir, path)
	if content == "" {
		return os.Remove(full)
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(full, []byte(content), 0o644)
}

// CommitAndPush commits everything and pushes it to the branch. It returns the commit's hash.
func (c *Checkout) CommitAndPush(ctx context.Context, branch, message string) (string, error) {
	if _, err := c.Git(ctx, "add", "--all"); err != nil {
		return "", err
	}
	if _, err := c.Git(ctx, "commit", "--quiet", "--allow-empty", "-m", message); err != nil {
		return "", err
	}
	if _, err := c.Git(ctx, "push", "--quiet", "origin", "HEAD:refs/heads/"+branch); err != nil {
		return "", err
	}
	return c.Git(ctx, "rev-parse", "HEAD")
}
