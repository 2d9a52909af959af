package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

func (s *start) step(format string, a ...any) {
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, a...))
}

// wait polls f until it succeeds, and reports what then is the case.
func (s *start) wait(what string, f func() error) error {
	if err := poll(s.ctx, f); err != nil {
		if cause := context.Cause(s.ctx); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(cause, err)
		}
		return fmt.Errorf("wait until %s: %w (logs: %s)", what, err, s.path("log"))
	}
	s.step("%s", what)
	return nil
}

// addons applies the snapshot CRDs and the storage classes.
func (s *start) addons() error {
	crds, err := filepath.Glob(filepath.Join(s.Bin, "crds", "*.yaml"))
	if err != nil {
		return fmt.Errorf("list the CRDs: %w", err)
	}
	if len(crds) == 0 {
		return fmt.Errorf("list the CRDs: none in %s, run clusterctl build", s.bin("crds"))
	}
	apply := []string{"apply", "--server-side", "--validate=false"}
	for _, f := range crds {
		apply = append(apply, "-f", f)
	}
	if _, err := s.kubectl(apply...); err != nil {
		return err
	}
	return s.wait("storage classes are applied", func() error {
		_, err := s.kubectl("apply", "--server-side", "-f", s.path("config", "addons.yaml"))
		return err
	})
}

// usable waits for what pods and volumes need besides the API server. The
// node's heartbeat must not be older than since.
func (s *start) usable(since time.Time) error {
	if err := s.wait("node is Ready", func() error { return s.nodeReady(since) }); err != nil {
		return err
	}
	if err := s.wait("CSI driver is registered", func() error {
		out, err := s.kubectl("get", "csinode", s.NodeName, "-o", "jsonpath={.spec.drivers[*].name}")
		if err == nil && !strings.Contains(out, driverName) {
			err = errors.New("not registered yet")
		}
		return err
	}); err != nil {
		return err
	}
	// Pods cannot be admitted before this controller-made object exists.
	return s.wait("default service account exists", func() error {
		_, err := s.kubectl("get", "serviceaccount", "default")
		return err
	})
}

// nodeReady asks for the node's Ready condition. After a restart that is a
// memory of the last run until this run's kubelet has sent a heartbeat. (The
// node's Lease would tell too, but on a new cluster the kubelet makes it up to
// 10 s late.)
func (c *Cluster) nodeReady(since time.Time) error {
	out, err := c.kubectl("get", "node", c.NodeName, "-o",
		`jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}`)
	if err != nil {
		return err
	}
	ready, beat, _ := strings.Cut(out, " ")
	at, err := time.Parse(time.RFC3339, beat)
	if ready != "True" || err != nil || at.Before(since.Truncate(time.Second)) {
		return fmt.Errorf("condition Ready is %q", out)
	}
	return nil
}
