package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// start is one run of Up.
type start struct {
	*Cluster
	out   io.Writer
	begin time.Time
	ctx   context.Context
	end   context.CancelCauseFunc
}

// errSupervisorEnded ends all waiting: nothing will become ready any more.
var errSupervisorEnded = errors.New("the supervisor has ended")

// Up starts the cluster and returns when it is usable: pods can be created and
// volumes be provisioned. If a cluster already runs from the state directory,
// Up checks that one instead. Data of an earlier run in that directory is used
// again. The progress goes to out. Call SetPath before.
func (c *Cluster) Up(ctx context.Context, out io.Writer, timeout time.Duration) error {
	if err := c.checkPaths(); err != nil {
		return err
	}
	unlock, err := lock(c.State)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &start{Cluster: c, out: out, begin: time.Now(), ctx: ctx, end: end}

	if old, err := Load(c.State); err == nil {
		if pid := old.supervisorPID(); pid != 0 {
			s.Cluster = old
			return s.already(pid, c.Bin)
		}
		// Stopped or crashed earlier: clear what is left of it, keep its data.
		if err := old.down(out, false); err != nil {
			return fmt.Errorf("clean up after the last run: %w", err)
		}
	}
	if err := c.prepare(); err != nil {
		return err
	}
	s.step("prepared (cgroup v%d)", cgroupVersion())
	if c.copies != "" {
		s.step("snapshots of volumes will be copies, not points in time: %s", c.copies)
	}
	if err := s.detach(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	if err := s.wait("containerd is ready", socketReady(c.containerdSocket())); err != nil {
		return err
	}
	if err := c.loadOwnImages(); err != nil {
		return err
	}
	s.step("images imported")
	if err := s.wait("API server is ready", c.apiReady); err != nil {
		return err
	}
	if err := s.addons(); err != nil {
		return err
	}
	return s.usable(s.begin)
}

// already handles a cluster that runs.
func (s *start) already(pid int, bin string) error {
	if err := s.releaseAll(); err != nil {
		return err
	}
	if err := s.wait("API server is ready", s.apiReady); err != nil {
		return fmt.Errorf("check the cluster that runs already (clusterctl down ends it): %w", err)
	}
	if err := s.usable(time.Time{}); err != nil {
		return fmt.Errorf("check the cluster that runs already (clusterctl down ends it): %w", err)
	}
	fmt.Fprintf(s.out, "a healthy cluster runs already (supervisor %d)\n", pid)
	if s.Bin != bin {
		fmt.Fprintf(s.out, "its programs are from %s, not %s: clusterctl down and up changes that\n", s.Bin, bin)
	}
	return nil
}

// prepare writes all files and makes the node's network interface.
func (c *Cluster) prepare() error {
	if err := os.MkdirAll(c.State, 0o755); err != nil {
		return fmt.Errorf("create the state directory: %w", err)
	}
	b, err := os.ReadFile(ipForward)
	if err != nil {
		return fmt.Errorf("read whether the kernel forwards packets: %w", err)
	}
	c.SavedIPForward = strings.TrimSpace(string(b))
	// Save first: Down must be able to clean up after any later failure.
	if err := c.save(); err != nil {
		return fmt.Errorf("save the cluster's description: %w", err)
	}
	if err := c.releaseAll(); err != nil {
		return err
	}
	if err := c.mountVolumes(); err != nil {
		return err
	}
	if err := c.pki(); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	if err := c.writeConfigs(); err != nil {
		return fmt.Errorf("write configuration files: %w", err)
	}
	if err := c.network(); err != nil {
		return fmt.Errorf("make the node's interface: %w", err)
	}
	return nil
}

const ipForward = "/proc/sys/net/ipv4/ip_forward"

// network makes the interface that holds the node's address. It has no ports
// and leads nowhere: it exists so that the node's identity does not depend on
// the machine's real networks, and nothing listens on those. It is a bridge
// because some kernels have no dummy interfaces.
func (c *Cluster) network() error {
	if err := os.WriteFile(ipForward, []byte("1"), 0o644); err != nil {
		return err
	}
	if err := exec.Command("ip", "link", "show", c.Bridge).Run(); err != nil {
		if err := run("ip", "link", "add", "name", c.Bridge, "type", "bridge"); err != nil {
			return err
		}
	}
	if err := run("ip", "addr", "replace", c.NodeIP+"/32", "dev", c.Bridge); err != nil {
		return err
	}
	return run("ip", "link", "set", c.Bridge, "up")
}

// detach starts "clusterctl supervise" in a session of its own.
func (s *start) detach() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// "go run" deletes its binary when it ends; the supervisor outlives it.
	keep := s.path("run", "clusterctl")
	if err := copyFile(self, keep, 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(s.path("log", "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(keep, "supervise", "--state", s.State)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // whatever its status: it should not have ended
		s.end(errSupervisorEnded)
	}()
	return nil
}
