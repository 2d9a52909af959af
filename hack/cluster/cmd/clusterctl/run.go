package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-backup/cairn/hack/cluster/internal/cluster"
	"github.com/cairn-backup/cairn/hack/cluster/internal/preflight"
)

// stateFlag adds the flag that names a cluster.
func stateFlag(fs *flag.FlagSet) *string {
	return fs.String("state", cluster.DefaultState, "directory of everything the cluster writes")
}

func runUp(ctx context.Context, fs *flag.FlagSet, args []string) error {
	var src source
	src.flags(fs)
	state := stateFlag(fs)
	timeout := fs.Duration("timeout", 3*time.Minute, "how long to wait until the cluster is usable")
	c := cluster.New()
	c.Flags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := src.resolve(); err != nil {
		return err
	}
	if err := absolute(state); err != nil {
		return err
	}
	if err := checkMachine(ctx, preflight.Cluster, false); err != nil {
		return err
	}
	for _, program := range []string{"kube", "pause", "toolbox", "csi-provisioner"} {
		if _, err := os.Stat(filepath.Join(src.bin, program)); err != nil {
			return fmt.Errorf("find the programs (clusterctl build makes them): %w", err)
		}
	}
	c.Bin, c.State = src.bin, *state
	if err := c.Up(ctx, os.Stdout, *timeout); err != nil {
		return err
	}
	fmt.Printf("\nexport KUBECONFIG=%s\n", c.Kubeconfig("admin"))
	return nil
}

func runDown(_ context.Context, fs *flag.FlagSet, args []string) error {
	state := stateFlag(fs)
	purge := fs.Bool("purge", false, "delete the state directory too")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := absolute(state); err != nil {
		return err
	}
	return cluster.Down(os.Stdout, *state, *purge)
}

// load parses the flags of a command that works on a cluster and returns that.
func load(fs *flag.FlagSet, args []string) (*cluster.Cluster, error) {
	state := stateFlag(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if err := absolute(state); err != nil {
		return nil, err
	}
	return cluster.Load(*state)
}

func runSupervise(_ context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	return c.Supervise()
}

func runStatus(_ context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	return c.Status(os.Stdout)
}

func runStop(ctx context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	return c.Stop(ctx, fs.Arg(0))
}

func runStart(ctx context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	return c.Start(ctx, fs.Arg(0))
}

func runKubeconfig(_ context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	_, err = fmt.Println(c.Kubeconfig("admin"))
	return err
}

func runEnv(_ context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("export KUBECONFIG=%s\nexport PATH=%s:$PATH\n", c.Kubeconfig("admin"), c.Bin)
	return err
}
