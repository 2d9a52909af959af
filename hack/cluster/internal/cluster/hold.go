package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// holdTimeout is how long Stop and Start wait for the supervisor.
const holdTimeout = 30 * time.Second

// Stop kills a component, as a crash would, and keeps it away until Start or
// the next Up. It returns when the component is gone. It may be repeated.
func (c *Cluster) Stop(ctx context.Context, name string) error {
	comp, err := c.component(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.holdFile(name), nil, 0o644); err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	err = poll(ctx, func() error {
		if pid := c.pidOf(comp.name, comp.path); pid != 0 {
			return fmt.Errorf("process %d still runs", pid)
		}
		if comp.ready != nil && comp.ready() == nil {
			return errors.New("it still answers")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait for the end of %s: %w", name, err)
	}
	return nil
}

// Start lets a component run again that Stop has killed, and returns when it is
// ready, or runs where it has no sign of that. It may be repeated.
func (c *Cluster) Start(ctx context.Context, name string) error {
	comp, err := c.component(name)
	if err != nil {
		return err
	}
	if err := os.Remove(c.holdFile(name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("let %s go on: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	err = poll(ctx, func() error {
		if c.pidOf(comp.name, comp.path) == 0 {
			return errors.New("it does not run")
		}
		if comp.ready != nil {
			return comp.ready()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s is ready: %w", name, err)
	}
	return nil
}

// component returns the component of this name. The cluster must run.
func (c *Cluster) component(name string) (component, error) {
	if c.supervisorPID() == 0 {
		return component{}, errors.New("look for the supervisor: it does not run")
	}
	var names []string
	for _, comp := range c.components() {
		if comp.name == name {
			return comp, nil
		}
		names = append(names, comp.name)
	}
	return component{}, fmt.Errorf("look for the component %q: there are %s", name, strings.Join(names, ", "))
}

// holdFile keeps a component from running as long as it exists.
func (c *Cluster) holdFile(name string) string { return c.path("run", name+".hold") }

// releaseAll lets all components run.
func (c *Cluster) releaseAll() error {
	held, err := filepath.Glob(c.holdFile("*"))
	if err != nil {
		return err
	}
	for _, f := range held {
		if err := os.Remove(f); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("let all components run: %w", err)
		}
	}
	return nil
}

// held reports whether the process must not run now.
func (ch *child) held() bool {
	_, err := os.Stat(ch.holdFile)
	return err == nil
}

// waitReleased returns when the process may run, or false if quit was closed.
func (ch *child) waitReleased() bool {
	for {
		select {
		case <-ch.quit:
			return false
		default:
		}
		if !ch.held() {
			return true
		}
		select {
		case <-ch.quit:
			return false
		case <-time.After(holdInterval):
		}
	}
}

// killWhenHeld kills the process as soon as it is held, and returns when that
// or the end of the process has come.
func (ch *child) killWhenHeld(p *os.Process, ended <-chan struct{}) {
	tick := time.NewTicker(holdInterval)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			if ch.held() {
				_ = p.Signal(syscall.SIGKILL) // fails only if it has ended
				return
			}
		}
	}
}

// holdInterval is how often hold files are looked for.
const holdInterval = 100 * time.Millisecond
