package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/cairn-backup/cairn/hack/cluster/internal/build"
	"github.com/cairn-backup/cairn/hack/cluster/internal/preflight"
)

// source is where the programs come from and where they are.
type source struct{ module, bin string }

func (s *source) flags(fs *flag.FlagSet) {
	fs.StringVar(&s.module, "module", "",
		"directory of this module's sources (default: found from the working directory)")
	fs.StringVar(&s.bin, "bin", "", "directory of the programs (default: in the user's cache, named after the sources)")
}

// resolve fills in the defaults.
func (s *source) resolve() error {
	if s.bin != "" {
		if err := absolute(&s.bin); err != nil || s.module != "" {
			return err
		}
	}
	module, err := build.FindModule(or(s.module, "."))
	if err != nil {
		if s.bin != "" { // programs that are built need no sources
			return nil
		}
		return fmt.Errorf("find the programs (--bin names their directory): %w", err)
	}
	s.module = module
	if s.bin == "" {
		s.bin, err = build.DefaultDir(module)
	}
	return err
}

func runBuild(ctx context.Context, fs *flag.FlagSet, args []string) error {
	var src source
	src.flags(fs)
	only := fs.String("only", "",
		"build only what envtest needs (kube: etcd, kube-apiserver, kubectl), or that and the S3 server (test)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := src.resolve(); err != nil {
		return err
	}
	if src.module == "" {
		return fmt.Errorf("find the sources (--module names their directory): %w", build.ErrNoModule)
	}
	return build.Run(ctx, build.Options{Module: src.module, Dir: src.bin, Only: *only, Out: os.Stdout, Now: time.Now})
}

func runBinDir(_ context.Context, fs *flag.FlagSet, args []string) error {
	var src source
	src.flags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := src.resolve(); err != nil {
		return err
	}
	_, err := fmt.Println(src.bin)
	return err
}

func runPreflight(ctx context.Context, fs *flag.FlagSet, args []string) error {
	use := fs.String("for", string(preflight.Cluster),
		"what the machine is to do: run the cluster (cluster), or the tests that need none (test)")
	install := fs.Bool("install", false,
		"as root on Debian or Ubuntu, install missing packages, unless "+preflight.NoInstall+"=1 is set")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return checkMachine(ctx, preflight.Use(*use), *install)
}

// checkMachine returns what this machine lacks as an error, after it has
// installed what it may.
func checkMachine(ctx context.Context, use preflight.Use, install bool) error {
	host := preflight.Host()
	problems, err := preflight.Check(host, use)
	if err != nil {
		return err
	}
	if pkgs := preflight.Packages(problems); install && len(pkgs) > 0 {
		if err := preflight.CanInstall(host, os.Getenv); err != nil {
			return fmt.Errorf("%w\n%w", preflight.Error(use, problems), err)
		}
		if err := preflight.Install(ctx, os.Stdout, pkgs); err != nil {
			return err
		}
		if problems, err = preflight.Check(host, use); err != nil {
			return err
		}
	}
	return preflight.Error(use, problems)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
