package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// removePods ends all containers through containerd, started for this purpose
// alone: the kubelet no longer runs, so nothing restarts them. It is containerd
// that knows about shims, network namespaces, and CNI allocations.
func (c *Cluster) removePods() error {
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.path("containerd")); err != nil {
		return nil // it never ran
	}
	cmd := exec.Command(containerd, "--config", c.path("config", "containerd.toml"), "--log-level", "error")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+c.containerdSocket(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	return removeSandboxes(ctx, cri.NewRuntimeServiceClient(conn))
}

// removers is how many pods are taken away at once: most of the time goes into waiting for CNI plugins and runc.
const removers = 8

func removeSandboxes(ctx context.Context, rt cri.RuntimeServiceClient) error {
	var pods *cri.ListPodSandboxResponse
	if err := poll(ctx, func() (err error) {
		pods, err = rt.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		return err
	}); err != nil {
		return err
	}
	errs := make([]error, len(pods.Items))
	free := make(chan struct{}, removers)
	var all sync.WaitGroup
	for i, p := range pods.Items {
		free <- struct{}{}
		all.Go(func() {
			errs[i] = removeSandbox(ctx, rt, p.Id)
			<-free
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func removeSandbox(ctx context.Context, rt cri.RuntimeServiceClient, id string) error {
	if _, err := rt.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return err
	}
	_, err := rt.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}

// unmountAll unmounts what is mounted below the state directory, innermost
// first: pods' projected volumes, CSI bind mounts, container root filesystems.
func (c *Cluster) unmountAll() error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	points := mountsBelow(string(b), c.State)
	var errs []error
	for i := len(points) - 1; i >= 0; i-- {
		if err := syscall.Unmount(points[i], 0); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", points[i], err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow returns the mount points below dir in a mountinfo file, in the
// order in which they were mounted.
func mountsBelow(mountinfo, dir string) []string {
	// Spaces and the like are escaped as octal numbers.
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if p := unescape.Replace(fields[4]); strings.HasPrefix(p, dir+"/") {
			points = append(points, p)
		}
	}
	return points
}

// removeCgroups removes the kubelet's empty cgroups from every hierarchy.
func removeCgroups() {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods")
	for _, root := range append(roots, "/sys/fs/cgroup/kubepods") {
		var dirs []string
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = syscall.Rmdir(dirs[i]) // a cgroup in use refuses
		}
	}
}

// removeLogLinks removes the links the kubelet insists on making in
// /var/log/containers.
func (c *Cluster) removeLogLinks() error {
	links, err := filepath.Glob("/var/log/containers/*.log")
	if err != nil {
		return err
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, c.State+"/") {
			if err := os.Remove(l); err != nil {
				return err
			}
		}
	}
	return nil
}
