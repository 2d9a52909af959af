package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/internal/cli/command"
)

// mistake is bad input for "cairn validate".
type mistake struct {
	what string
	// files of the policy, by path. A content that begins with "-> " is the target of a symbolic link.
	files map[string]string
	// path in the working copy that is checked. Empty means "policy".
	path string
	// warning is whether the mistake is only a warning, because it depends on the cluster.
	warning bool
}

// errorsPage runs "cairn validate" for each mistake and shows its output.
func errorsPage() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# Bad input\n\n" + paragraph(
		"This page shows the output of `cairn validate policy` for mistakes in policy. A PolicySync reports "+
			"the same in its condition Ready and in an event. It applies nothing of that revision: the revision "+
			"before stays in force. Mistakes that only a server can find, such as a wrong password, are in "+
			"[conditions](conditions.md). A warning names an object that is not in these files, but can be in the"+
			" cluster. If it is not there either, the object that refers to it reports that in its conditions."))
	for _, m := range mistakes() {
		output, err := m.output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.what, err)
		}
		fmt.Fprintf(&out, "\n## %s\n\n```\n%s```\n", m.what, output)
	}
	return out.Bytes(), nil
}

// output makes the mistake in a new working copy and returns what "cairn validate" prints.
func (m mistake) output() (string, error) {
	dir, err := os.MkdirTemp("", "refdocs-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil { // It marks a working copy.
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
	text, code := cairn("validate", "--namespace", "shop", dir+"/"+path)
	want := command.ExitError
	if m.warning {
		want = command.ExitOK
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
