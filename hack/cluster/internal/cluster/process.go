package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidOf reads a pid file and returns the pid if that process still runs the
// expected program, so that a recycled pid is never signalled.
func (c *Cluster) pidOf(name string, exe ...string) int {
	b, err := os.ReadFile(c.path("run", name+".pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0
	}
	link = strings.TrimSuffix(link, " (deleted)") // rebuilt since
	for _, e := range exe {
		if real, err := filepath.EvalSymlinks(e); err == nil {
			e = real
		}
		if link == e {
			return pid
		}
	}
	return 0
}

// terminate ends a process that is not our child.
func terminate(pid int, limit time.Duration) {
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		// A zombie has no program. kill(pid, 0) would count it as alive, for as
		// long as whoever inherited it takes to reap it.
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
			return
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func (c *Cluster) supervisorPID() int { return c.pidOf("supervisor", c.path("run", "clusterctl")) }

// kubectl runs kubectl as the administrator and returns its output.
func (c *Cluster) kubectl(args ...string) (string, error) {
	cmd := exec.Command(c.bin("kube"), append([]string{"kubectl", "--kubeconfig", c.Kubeconfig("admin")}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("run kubectl %s: %w: %s", args[0], err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// Status writes the components' processes to out. The error tells what keeps
// the cluster from working.
func (c *Cluster) Status(out io.Writer) error {
	if c.supervisorPID() == 0 {
		return errors.New("look for the supervisor: it does not run")
	}
	var dead []string
	for _, comp := range c.components() {
		pid := c.pidOf(comp.name, comp.path)
		if pid == 0 {
			dead = append(dead, comp.name)
		}
		fmt.Fprintf(out, "%-24s pid %d\n", comp.name, pid)
	}
	if len(dead) > 0 {
		return fmt.Errorf("look for the components: %s not running", strings.Join(dead, ", "))
	}
	return c.apiReady()
}

// lock keeps two runs of Up or Down from working on one state directory at the
// same time. It ends with the process at the latest.
func lock(state string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(state), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", state, err)
	}
	f, err := os.OpenFile(state+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", state, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("lock %s, which another clusterctl up or down works on: %w", state, err)
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// copyFile replaces the file to. It removes it first, because a program that
// runs cannot be written.
func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Remove(to); err != nil && !os.IsNotExist(err) {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
