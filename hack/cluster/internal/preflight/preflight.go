// Package preflight finds out what a machine lacks to run the cluster, says
// how to mend it, and on Debian and Ubuntu can mend most of it.
package preflight

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"syscall"
)

// Use is what a machine is to do.
type Use string

// The uses that Check knows.
const (
	Cluster Use = "cluster" // run the cluster
	Test    Use = "test"    // run the tests that need no cluster
)

// Problem is one thing that is missing.
type Problem struct {
	What    string // what is missing, and what needs it
	Package string // Debian package that brings it; "" if none does
	Mend    string // the command that mends it if no package does; "" if there is none
}

// Machine is what Check asks about. Use Host for the machine at hand.
type Machine struct {
	UID    int
	Find   func(program string) error // nil if the program is in PATH
	Exists func(path string) error    // nil if the path exists
	Read   func(path string) ([]byte, error)
	Free   func(path string) (uint64, error) // bytes that are free where the path is
}

// Host returns the machine that this process runs on.
func Host() Machine {
	return Machine{
		UID:    os.Geteuid(),
		Find:   func(p string) error { _, err := exec.LookPath(p); return err },
		Exists: func(p string) error { _, err := os.Stat(p); return err },
		Read:   os.ReadFile,
		Free: func(p string) (uint64, error) {
			var fs syscall.Statfs_t
			err := syscall.Statfs(p, &fs)
			return fs.Bavail * uint64(fs.Bsize), err //nolint:gosec // the size of a block is not negative
		},
	}
}

// The cluster keeps images and volumes below stateParent. With less than minFree the
// scenarios, and the builds beside them, can fill the disk.
const (
	stateParent = "/var/lib"
	minFree     = 12 << 30
)

// program is one that is no Go module, or not worth building.
type program struct{ name, pkg, use string }

// The cluster runs its own containerd with its own socket and files: a daemon
// that the package starts does not matter, nor does it have to run.
var programs = map[Use][]program{
	Cluster: {
		{"containerd", "containerd", "runs the containers"},
		{"containerd-shim-runc-v2", "containerd", "runs the containers"},
		{"ctr", "containerd", "imports images"},
		{"runc", "runc", "runs the containers"},
		{"nft", "nftables", "kube-proxy and hostPort"},
		{"ip", "iproute2", "makes the node's interface"},
		{"git", "git", "serves Git in a pod"},
		{"mount", "mount", "the kubelet mounts volumes"},
		{"losetup", "mount", "frees the device of the volumes' file system"},
		{"mkfs.btrfs", "btrfs-progs", "makes the volumes' file system"},
		{"btrfs", "btrfs-progs", "takes snapshots of volumes"},
		{"cp", "coreutils", "the CSI driver copies volumes"},
	},
	Test: {
		{"git", "git", "is the other side of the Git tests"},
		{"ssh", "openssh-client", "is git's way to an SSH server"},
		{"/usr/lib/openssh/sftp-server", "openssh-sftp-server", "answers the SFTP tests"},
		{"gpg", "gnupg", "verifies signatures"},
		{"setpriv", "util-linux", "runs as another user"},
		{"setfattr", "attr", "sets extended attributes"},
		{"setfacl", "acl", "sets access control lists"},
		{"setcap", "libcap2-bin", "sets capabilities of files"},
		{"rsync", "rsync", "compares trees"},
		{"tar", "tar", "packs sparse files"},
		{"mkfs.btrfs", "btrfs-progs", "takes the CSI driver's snapshots, where root tests"},
	},
}

// Check returns everything that the machine lacks for a use at once, in a fixed
// order.
func Check(m Machine, use Use) ([]Problem, error) {
	needed, ok := programs[use]
	if !ok {
		return nil, fmt.Errorf("check the machine for %q: possible are %q and %q", use, Cluster, Test)
	}
	var found []Problem
	if use == Cluster && m.UID != 0 {
		found = append(found, Problem{What: "the cluster needs root", Mend: "sudo -E " + strings.Join(os.Args, " ")})
	}
	for _, p := range needed {
		if m.Find(p.name) != nil {
			found = append(found,
				Problem{What: fmt.Sprintf("program %s is not in PATH (%s)", p.name, p.use), Package: p.pkg})
		}
	}
	if use == Cluster {
		found = append(found, checkKernel(m)...)
		found = append(found, checkRoom(m)...)
	}
	return found, nil
}

func checkKernel(m Machine) []Problem {
	var found []Problem
	if b, err := m.Read("/proc/filesystems"); err == nil && !strings.Contains(string(b), "\toverlay\n") {
		found = append(found, Problem{What: "the kernel has no overlayfs (layers of images)", Mend: "modprobe overlay"})
	}
	for _, p := range []string{"/dev/kmsg", "/sys/fs/cgroup"} {
		if err := m.Exists(p); err != nil {
			found = append(found, Problem{What: p + " is missing (the kubelet reads it)"})
		}
	}
	return found
}

func checkRoom(m Machine) []Problem {
	free, err := m.Free(stateParent)
	if err != nil || free >= minFree {
		return nil
	}
	return []Problem{{What: fmt.Sprintf("%s has %d MiB of free space, less than %d (images and volumes): delete files "+
		"there; \"go clean -cache\" can help", stateParent, free>>20, minFree>>20)}}
}

// Packages returns the Debian packages that mend problems, sorted.
func Packages(problems []Problem) []string {
	set := map[string]bool{}
	for _, p := range problems {
		if p.Package != "" {
			set[p.Package] = true
		}
	}
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Error returns the problems as one error with a line each and the commands
// that mend them, or nil if there are none.
func Error(use Use, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	var b strings.Builder
	what := map[Use]string{Cluster: "the cluster", Test: "the tests"}[use]
	b.WriteString("this machine cannot run " + what + " yet:")
	for _, p := range problems {
		b.WriteString("\n  " + p.What)
		if p.Mend != "" {
			b.WriteString("; mend it with: " + p.Mend)
		}
	}
	if pkgs := Packages(problems); len(pkgs) > 0 {
		b.WriteString("\nmend it with: apt-get update && apt-get " + strings.Join(installArgs(pkgs), " "))
	}
	return errors.New(b.String())
}

func installArgs(pkgs []string) []string {
	return append([]string{"install", "-y", "--no-install-recommends"}, pkgs...)
}
