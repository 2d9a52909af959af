package preflight

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// NoInstall is the environment variable that, set to 1, forbids to install.
const NoInstall = "NO_INSTALL"

// CanInstall says why packages cannot be installed on the machine, or nil. It
// takes root on Debian or Ubuntu, and NO_INSTALL not to be 1.
func CanInstall(m Machine, getenv func(string) string) error {
	if getenv(NoInstall) == "1" {
		return fmt.Errorf("install packages: %s=1 forbids it", NoInstall)
	}
	if m.UID != 0 {
		return fmt.Errorf("install packages: only root can")
	}
	b, err := m.Read("/etc/os-release")
	if err != nil {
		return fmt.Errorf("install packages: read what system this is: %w", err)
	}
	if !debianLike(string(b)) || m.Find("apt-get") != nil {
		return fmt.Errorf("install packages: only on Debian and Ubuntu")
	}
	return nil
}

// debianLike reads the ID and ID_LIKE lines of an os-release file.
func debianLike(osRelease string) bool {
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key != "ID" && key != "ID_LIKE" {
			continue
		}
		for _, id := range strings.Fields(strings.Trim(value, `"'`)) {
			if id == "debian" || id == "ubuntu" {
				return true
			}
		}
	}
	return false
}

// Install installs Debian packages without recommended ones and without
// questions, after one update of the lists. It writes one line to out.
func Install(ctx context.Context, out io.Writer, pkgs []string) error {
	fmt.Fprintf(out, "installing Debian packages: %s\n", strings.Join(pkgs, " "))
	for _, args := range [][]string{{"update"}, installArgs(pkgs)} {
		// with the network and with other installations
		patient := []string{"-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"}
		cmd := exec.CommandContext(ctx, "apt-get", append(patient, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run apt-get %s: %w: %s", args[0], err, bytes.TrimSpace(log.Bytes()))
		}
	}
	return nil
}
