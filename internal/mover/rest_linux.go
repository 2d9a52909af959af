package mover

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Rest returns memory that is of no use until there is work again: what the collector can free, and the pages of the
// program itself, which were mostly read only once, at its start. The kernel loads pages again when they are needed.
func Rest() {
	debug.FreeOSMemory()
	_ = dropProgram() // on an error the pages stay
}

// dropProgram unmaps the pages of the program's file. It skips mappings with a changed page, whose content is nowhere
// else.
func dropProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read mappings: %w", err)
	}
	defer func() { _ = f.Close() }()
	var clean [][2]uintptr
	var at [2]uintptr
	own := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		var perms string
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); n == 3 && len(perms) == 4 {
			own = strings.HasSuffix(line, " "+program) && (perms == "r-xp" || perms == "r--p")
			at = [2]uintptr{from, to}
			continue
		}
		if kib, ok := strings.CutPrefix(line, "Anonymous:"); ok && own && strings.TrimSpace(kib) == "0 kB" {
			clean = append(clean, at)
		}
	}
	for _, m := range clean {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m[0], m[1]-m[0], unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("unmap pages: %w", errno)
		}
	}
	return nil
}
