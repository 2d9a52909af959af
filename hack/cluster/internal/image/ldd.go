package image

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// libraries asks ldd for the shared libraries and the loader of a program. A
// static program has none.
func libraries(program string) ([]string, error) {
	var out bytes.Buffer
	cmd := exec.Command("ldd", program)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	if err := cmd.Run(); err != nil && !strings.Contains(out.String(), "not a dynamic executable") {
		return nil, fmt.Errorf("run ldd: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return parseLdd(out.String())
}

// parseLdd returns the paths in the output of ldd. Its lines are of the forms
//
//	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f70b741e000)
//	/lib64/ld-linux-x86-64.so.2 (0x00007f70b7b82000)
//	linux-vdso.so.1 (0x00007f70b7b80000)
//	libnone.so => not found
//	not a dynamic executable
func parseLdd(out string) ([]string, error) {
	var libs []string
	var errs []error
	for line := range strings.Lines(out) {
		name, rest, found := strings.Cut(strings.TrimSpace(line), " => ")
		if !found {
			rest = name
		}
		if found && strings.HasPrefix(rest, "not found") {
			errs = append(errs, fmt.Errorf("library %s is not on this machine", name))
			continue
		}
		// The kernel provides the vdso: it has no path.
		if lib, _, _ := strings.Cut(rest, " ("); filepath.IsAbs(lib) {
			libs = append(libs, filepath.Clean(lib))
		}
	}
	return libs, errors.Join(errs...)
}
