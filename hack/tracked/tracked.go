// Package tracked lists the files of the repository for the programs that "make verify" runs.
package tracked

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Files returns the root of the repository that holds the working directory, and the files below it that Git knows or
// would add, as paths from the root with slashes. It leaves out files that are removed and not committed yet.
func Files() (root string, files []string, err error) {
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", nil, fmt.Errorf("find the root of the repository: %w", err)
	}
	root = strings.TrimSpace(string(out))
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	if out, err = list.Output(); err != nil {
		return "", nil, fmt.Errorf("list the files of the repository: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil && name != "" {
			files = append(files, name)
		}
	}
	return root, files, nil
}
