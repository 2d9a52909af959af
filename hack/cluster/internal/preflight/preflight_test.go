package preflight

import (
	"errors"
	"io/fs"
	"testing"

	. "github.com/onsi/gomega"
)

// machine is a complete one, changed by f.
func machine(f func(*Machine)) Machine {
	m := Machine{
		Find:   func(string) error { return nil },
		Exists: func(string) error { return nil },
		Read: func(p string) ([]byte, error) {
			switch p {
			case "/proc/filesystems":
				return []byte("nodev\toverlay\n"), nil
			case "/etc/os-release":
				return []byte("NAME=x\nID=ubuntu\nID_LIKE=\"debian\"\n"), nil
			}
			return nil, fs.ErrNotExist
		},
		Free: func(string) (uint64, error) { return minFree, nil },
	}
	f(&m)
	return m
}

func lacks(programs ...string) func(*Machine) {
	return func(m *Machine) {
		m.Find = func(p string) error {
			for _, l := range programs {
				if l == p {
					return errors.New("not found")
				}
			}
			return nil
		}
	}
}

func check(t testing.TB, m Machine, use Use) []Problem {
	t.Helper()
	problems, err := Check(m, use)
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

func TestTestsNeedNeitherRootNorContainers(t *testing.T) {
	g := NewWithT(t)
	noRoot := func(missing ...string) Machine {
		m := machine(lacks(missing...))
		m.UID = 1000
		return m
	}
	g.Expect(check(t, noRoot("containerd", "nft"), Test)).To(BeEmpty())
	g.Expect(Error(Test, check(t, noRoot("gpg"), Test))).
		To(MatchError(HavePrefix("this machine cannot run the tests yet:\n  program gpg")))
	_, err := Check(noRoot(), "demo")
	g.Expect(err).To(MatchError(ContainSubstring(`"demo"`)))
}

func TestProblemsComeWithWhatMendsThem(t *testing.T) {
	for name, tc := range map[string]struct {
		machine Machine
		want    string // "" if nothing is missing
	}{
		"a complete machine": {machine(func(*Machine) {}), ""},
		"programs of two packages": {
			machine(lacks("nft", "ctr", "containerd")),
			"this machine cannot run the cluster yet:\n" +
				"  program containerd is not in PATH (runs the containers)\n" +
				"  program ctr is not in PATH (imports images)\n" +
				"  program nft is not in PATH (kube-proxy and hostPort)\n" +
				"mend it with: apt-get update && apt-get install -y --no-install-recommends containerd nftables",
		},
		"a kernel without overlayfs": {
			machine(func(m *Machine) { m.Read = func(string) ([]byte, error) { return []byte("nodev\tproc\n"), nil } }),
			"this machine cannot run the cluster yet:\n  the kernel has no overlayfs (layers of images); mend it " +
				"with: modprobe overlay",
		},
		"no kernel log": {
			machine(func(m *Machine) {
				m.Exists = func(p string) error {
					if p == "/dev/kmsg" {
						return fs.ErrNotExist
					}
					return nil
				}
			}),
			"this machine cannot run the cluster yet:\n  /dev/kmsg is missing (the kubelet reads it)",
		},
		"a full disk": {
			machine(func(m *Machine) {
				m.Free = func(path string) (uint64, error) {
					if path != "/var/lib" {
						return 0, fs.ErrNotExist
					}
					return minFree - 1, nil
				}
			}),
			"this machine cannot run the cluster yet:\n  /var/lib has 12287 MiB of free space, less than 12288 " +
				"(images and volumes): delete files there; \"go clean -cache\" can help",
		},
		"a disk that does not say what is free": {
			machine(func(m *Machine) {
				m.Free = func(string) (uint64, error) { return 0, fs.ErrPermission }
			}), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := Error(Cluster, check(t, tc.machine, Cluster))
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(tc.want))
		})
	}
}

func TestTheClusterNeedsRoot(t *testing.T) {
	g := NewWithT(t)
	problems := check(t, machine(func(m *Machine) { m.UID = 1000 }), Cluster)
	g.Expect(problems).To(HaveLen(1))
	g.Expect(problems[0].Mend).To(HavePrefix("sudo -E "))
	g.Expect(Packages(problems)).To(BeEmpty())
}

func TestWhenPackagesMayBeInstalled(t *testing.T) {
	for name, tc := range map[string]struct {
		machine Machine
		env     string
		err     string
	}{
		"root on Ubuntu":       {machine(func(*Machine) {}), "", ""},
		"forbidden":            {machine(func(*Machine) {}), "1", "NO_INSTALL=1 forbids it"},
		"not root":             {machine(func(m *Machine) { m.UID = 1 }), "", "only root can"},
		"Debian without a apt": {machine(lacks("apt-get")), "", "only on Debian and Ubuntu"},
		"another system": {machine(func(m *Machine) {
			m.Read = func(string) ([]byte, error) { return []byte("ID=fedora\nPRETTY_NAME=\"not debian\"\n"), nil }
		}), "", "only on Debian and Ubuntu"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := CanInstall(tc.machine, func(key string) string {
				g.Expect(key).To(Equal("NO_INSTALL"))
				return tc.env
			})
			if tc.err == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.err)))
		})
	}
}
