// Package gitserver serves bare Git repositories below one directory over HTTP
// and SSH, with the real git behind both.
package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Repositories is a directory of bare repositories. It is safe for concurrent
// use.
type Repositories struct {
	Dir        string // exists and may be written
	AutoCreate bool   // make a repository when somebody pushes to it first

	creating sync.Mutex
}

// errNoRepository is what clients learn about absent and about invalid names.
var errNoRepository = errors.New("no such repository")

// validName has no empty part and no part that begins with a dot, so neither
// ".." nor the inside of a repository can be named.
var validName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`)

// name turns what a client asked for into a repository's path below Dir, which
// ends in .git whether or not the client wrote that.
func (r *Repositories) name(asked string) (string, error) {
	name := strings.TrimSuffix(strings.Trim(asked, "/"), ".git")
	if !validName.MatchString(name) {
		return "", errNoRepository
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasSuffix(part, ".git") { // inside of another repository
			return "", errNoRepository
		}
	}
	return name + ".git", nil
}

// find returns the directory of a repository, by the name that the method name
// returned. With push it may create the repository.
func (r *Repositories) find(ctx context.Context, name string, push bool) (string, error) {
	dir := filepath.Join(r.Dir, name)
	_, err := os.Stat(filepath.Join(dir, "HEAD"))
	if errors.Is(err, fs.ErrNotExist) && push && r.AutoCreate {
		err = r.create(ctx, dir)
	} else if errors.Is(err, fs.ErrNotExist) {
		return "", errNoRepository
	}
	if err != nil {
		return "", fmt.Errorf("open repository %s: %w", name, err)
	}
	return dir, r.confined(dir)
}

// confined refuses a repository that a symbolic link puts somewhere else.
func (r *Repositories) confined(dir string) error {
	root, err := filepath.EvalSymlinks(r.Dir)
	if err != nil {
		return fmt.Errorf("resolve the directory of repositories: %w", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("resolve the directory of a repository: %w", err)
	}
	if !strings.HasPrefix(real, root+string(filepath.Separator)) {
		return errNoRepository
	}
	return nil
}

// settings of new repositories: what forges allow, no background work that
// would outlive the request, and a way to begin anew.
var settings = [][2]string{
	{"http.receivepack", "true"},
	{"uploadpack.allowFilter", "true"},
	{"uploadpack.allowAnySHA1InWant", "true"},
	{"receive.autogc", "false"},
	{"receive.denyDeleteCurrent", "ignore"},
}

// create makes an empty repository with HEAD main. It appears by a rename, so
// that nobody sees half of one.
func (r *Repositories) create(ctx context.Context, dir string) error {
	r.creating.Lock()
	defer r.creating.Unlock()
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return nil // another push was faster
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	if err := r.confinedParent(parent); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(r.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	commands := [][]string{{"init", "--quiet", "--bare", "--template=", "--initial-branch=main", tmp}}
	for _, s := range settings {
		commands = append(commands, []string{"--git-dir=" + tmp, "config", s[0], s[1]})
	}
	for _, args := range commands {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Env = environment()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("run git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return os.Rename(tmp, dir)
}

func (r *Repositories) confinedParent(parent string) error {
	if filepath.Clean(parent) == filepath.Clean(r.Dir) {
		return nil
	}
	return r.confined(parent)
}

// environment is what git runs with. No configuration of the machine or the
// user takes part, and a volume's repositories may belong to another user.
func environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/nonexistent",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
}
