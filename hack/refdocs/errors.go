package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/internal/cli"
)

// mistake is bad input and what is said of it.
type mistake struct {
	what string
	// files of the policy. A content that begins with "-> " makes a symbolic link.
	files map[string]string
	// path below the working copy that is checked; "policy" where it is empty.
	path string
	// warning is a mistake that only the cluster can tell for sure.
	warning bool
}

// errorsPage shows what "cairn validate" really says of each mistake: it is run for every one.
func errorsPage() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# Bad input\n\nWhat `cairn validate policy` says of mistakes in policy. A PolicySync says the same in its condition Ready " +
		"and in an event, and applies nothing of that revision: what it applied before stays in force. Mistakes that only a server can " +
		"tell, such as a wrong password, are in [conditions](conditions.md). A warning is of what may be in the cluster though it is not " +
		"among these files; where it is not there either, the object that names it says so in its conditions.\n")
	for _, m := range mistakes() {
		said, err := m.said()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.what, err)
		}
		fmt.Fprintf(&out, "\n## %s\n\n```\n%s```\n", m.what, said)
	}
	return out.Bytes(), nil
}

// said makes the mistake in a new working copy and checks that.
func (m mistake) said() (string, error) {
	dir, err := os.MkdirTemp("", "refdocs-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil { // what marks a working copy
		return "", err
	}
	for name, content := range m.files {
		if err := write(filepath.Join(dir, name), content); err != nil {
			return "", err
		}
	}
	path := m.path
	if path == "" {
		path = "policy"
	}
	text, code := cairn("validate", "--verbose", "--namespace", "shop", dir+"/"+path)
	want := cli.ExitError
	if m.warning {
		want = cli.ExitOK
	}
	if code != want {
		return "", fmt.Errorf("exit code %d, want %d: %s", code, want, text)
	}
	return strings.ReplaceAll(text, dir+"/", ""), nil
}

func write(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if target, is := strings.CutPrefix(content, "-> "); is {
		return os.Symlink(target, name)
	}
	return os.WriteFile(name, []byte(content), 0o644)
}
