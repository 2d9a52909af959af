// Package memlimit sets the soft memory limit of the Go runtime from the container's control group, so that the
// garbage collector works harder before the kernel kills the process. The limit belongs to the process; all functions
// are safe for concurrent use.
package memlimit

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// percent of the container's limit become the soft limit. The rest is for stacks, for the kernel's share of the group
// (which includes the page cache), and for the delay of the collector.
const percent = 80

// unlimited is half of what cgroup v1 reports without a limit, which is the largest multiple of the page size below
// 2^63. Larger values mean no limit.
const unlimited = math.MaxInt64 / 2

// Set reads the limit of this process's control group, version 1 or 2, and makes 80 % of it the soft memory limit. It
// returns that limit in bytes. It returns 0 if there is no limit, or if GOMEMLIMIT is set, which takes precedence.
func Set() (int64, error) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0, nil
	}
	limit, err := Read(os.DirFS("/"))
	if err != nil || limit == 0 {
		return 0, err
	}
	soft := limit / 100 * percent
	debug.SetMemoryLimit(soft)
	return soft, nil
}

// Read returns the smallest memory limit in bytes of the process's control group and of the groups above it, 0 if
// there is none. root is the root of the file system.
func Read(root fs.FS) (int64, error) {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read control group: %w", err)
	}
	var smallest int64
	for line := range strings.Lines(string(b)) {
		// hierarchy:controllers:path, "0::/path" in version 2
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if f[0] != "0" || f[1] != "" {
			if !contains(f[1], "memory") {
				continue
			}
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		n, err := smallestAbove(root, base, f[2], file)
		if err != nil {
			return 0, err
		}
		if n > 0 && (smallest == 0 || n < smallest) {
			smallest = n
		}
	}
	return smallest, nil
}

func contains(list, want string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == want {
			return true
		}
	}
	return false
}

// smallestAbove returns the smallest limit of the group and of every group above it. In a container without a control
// group namespace the path is the host's and does not exist here. The walk then ends at the root of the mount, which
// is the container's group.
func smallestAbove(root fs.FS, base, group, file string) (smallest int64, _ error) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		n, err := readLimit(root, path.Join(base, group, file))
		if err != nil {
			return 0, err
		}
		if n > 0 && (smallest == 0 || n < smallest) {
			smallest = n
		}
		if group == "/" {
			return smallest, nil
		}
	}
}

func readLimit(root fs.FS, name string) (int64, error) {
	b, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read memory limit: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read memory limit %s: %w", name, err)
	}
	if n >= unlimited {
		return 0, nil
	}
	return int64(n), nil
}
