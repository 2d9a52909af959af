// Package build compiles the programs of a cluster from Go modules into one
// directory, and keeps that directory in a cache.
//
// The cache directory's name is a hash of all sources of this module, so a
// change of a little program (clusterctl, minihostpath, toolbox) leads to a new
// directory. That does not compile Kubernetes again: the Go build cache holds
// every package, and programs of an earlier directory that are still the same
// are taken over by hard links, so not even the linker runs for them.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Values of Options.Only. Each part contains the one before it.
const (
	OnlyKube = "kube" // what envtest needs: etcd, the API server, kubectl
	OnlyTest = "test" // and the S3 server, for tests without a cluster
)

// Markers are written last and hold the key of the sources that were built.
const (
	markerKube = ".complete-kube"
	markerTest = ".complete-test"
	markerAll  = ".complete"
)

var markers = []string{markerKube, markerTest, markerAll}

// Options says what to build, from where, and to where.
type Options struct {
	Module string           // directory of this module's sources
	Dir    string           // where the programs go
	Only   string           // "" for everything, else OnlyKube or OnlyTest
	Out    io.Writer        // progress, for people
	Now    func() time.Time // for the durations in the progress
}

// Run builds what is missing in o.Dir. It returns at once if all of it was
// built from the same sources before. Concurrent runs for one directory, also
// by other processes, wait for each other.
func Run(ctx context.Context, o Options) error {
	if o.Only != "" && o.Only != OnlyKube && o.Only != OnlyTest {
		return fmt.Errorf("build only %q: possible are %q and %q", o.Only, OnlyKube, OnlyTest)
	}
	key, err := Key(o.Module)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("create the directory of the programs: %w", err)
	}
	unlock, err := lock(o.Dir + ".lock")
	if err != nil {
		return fmt.Errorf("lock %s: %w", o.Dir, err)
	}
	defer unlock()
	if Complete(o.Dir, key, o.Only) {
		fmt.Fprintf(o.Out, "%s is complete\n", o.Dir)
		return touch(o.Dir, o.Now())
	}
	begin := o.Now()
	if err := o.run(ctx, key); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s is complete after %s\n", o.Dir, since(o.Now, begin))
	return prune(filepath.Dir(o.Dir), o.Dir, o.Now())
}

// Complete reports whether dir holds all that a run with only makes from the
// sources that key stands for.
func Complete(dir, key, only string) bool {
	enough := markers[2:]
	switch only {
	case OnlyKube:
		enough = markers
	case OnlyTest:
		enough = markers[1:]
	}
	for _, m := range enough {
		if b, err := os.ReadFile(filepath.Join(dir, m)); err == nil && strings.TrimSpace(string(b)) == key {
			return true
		}
	}
	return false
}

func (o Options) run(ctx context.Context, key string) error {
	for _, m := range markers {
		if err := remove(filepath.Join(o.Dir, m)); err != nil {
			return err
		}
	}
	if err := seed(o.Dir); err != nil {
		return err
	}
	version, err := kubernetesVersion(ctx, o.Module)
	if err != nil {
		return err
	}
	flags, err := ldflags(version)
	if err != nil {
		return err
	}
	// Kubernetes comes first and alone: others wait for its result only.
	err = o.stage(ctx, "Kubernetes "+version+" and etcd (4 to 8 minutes on two cores when the Go build cache is empty)",
		o.Module, flags, "./cmd/kube")
	if err != nil {
		return err
	}
	if err := links(o.Dir); err != nil {
		return err
	}
	if err := o.mark(markerKube, key); err != nil || o.Only == OnlyKube {
		return err
	}
	// "tool" stands for the tool lines in go.mod: programs that upstream has as
	// main packages only, here and in the S3 server's module.
	if err := o.stage(ctx, "the S3 server", filepath.Join(o.Module, "s3"), "-s -w", "tool"); err != nil {
		return err
	}
	if err := o.mark(markerTest, key); err != nil || o.Only == OnlyTest {
		return err
	}
	err = o.stage(ctx, "CoreDNS, CSI, CNI and our own programs", o.Module, flags,
		"./cmd/clusterctl", "./cmd/coredns", "./cmd/gitserver", "./cmd/minihostpath", "./cmd/pause",
		"./cmd/toolbox", "tool")
	if err != nil {
		return err
	}
	if err := copyCRDs(ctx, o.Module, filepath.Join(o.Dir, "crds")); err != nil {
		return err
	}
	return o.mark(markerAll, key)
}

// stage runs one "go build" that shares and parallelises the work on packages.
func (o Options) stage(ctx context.Context, what, module, ldflags string, packages ...string) error {
	begin := o.Now()
	fmt.Fprintf(o.Out, "building %s\n", what)
	args := append([]string{"build", "-trimpath", "-ldflags", ldflags, "-o", o.Dir + string(filepath.Separator)},
		packages...)
	cmd := goCommand(ctx, module, args...)
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = o.Out, o.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", what, err)
	}
	fmt.Fprintf(o.Out, "  took %s\n", since(o.Now, begin))
	return nil
}

func (o Options) mark(name, key string) error {
	if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(key+"\n"), 0o644); err != nil {
		return fmt.Errorf("mark the build as complete: %w", err)
	}
	return nil
}

// goCommand runs the go command in a module. No workspace may take part: the
// replaces of this module would apply to all of it.
func goCommand(ctx context.Context, module string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOWORK=off")
	return cmd
}

// lock takes an exclusive lock that ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what an earlier build left: %w", err)
	}
	return nil
}

func since(now func() time.Time, begin time.Time) time.Duration {
	return now().Sub(begin).Round(100 * time.Millisecond)
}
