// Command clusterctl builds, runs, and removes a real single-node Kubernetes
// cluster on this machine, without any image registry or release download.
//
// It needs root (but not to build), Linux, and a few Debian packages that
// "clusterctl preflight" names. See the README for an example of use.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cairn-backup/cairn/hack/cluster/internal/cluster"
)

// command is one thing that clusterctl can do. Its function adds flags to fs,
// calls parse, and then does the work.
type command struct {
	name, args, what string
	run              func(ctx context.Context, fs *flag.FlagSet, args []string) error
}

// commands returns all commands in the order of a cluster's life.
func commands() []command {
	return []command{
		{"build", "", "compile all programs", runBuild},
		{"bin-dir", "", "print the directory of the programs", runBinDir},
		{"preflight", "", "list what this machine lacks", runPreflight},
		{"up", "", "start the cluster", runUp},
		{"down", "", "stop the cluster", runDown},
		{"status", "", "list the components; fail if the cluster does not work", runStatus},
		{"stop", "COMPONENT", "kill one component and keep it away", runStop},
		{"start", "COMPONENT", "let a component run again that was stopped", runStart},
		{"kubeconfig", "", "print the path of the administrator's kubeconfig", runKubeconfig},
		{"env", "", "print shell commands that set KUBECONFIG and PATH", runEnv},
		{"image", "[FILE[:PATH]...]", "write a container image to a docker-archive tar file", runImage},
		{"gitserver-image", "", "write the image of the Git server with this machine's git", runGitserverImage},
		{"load-image", "ARCHIVE.tar...", "import image archives into the cluster", runLoadImage},
		{"load-binary", "FILE[:PATH]...", "make an image and import it into the cluster", runLoadBinary},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cluster.SetPath()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "clusterctl:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "supervise" { // the detached process that "up" leaves behind
		fs := flag.NewFlagSet("clusterctl supervise", flag.ContinueOnError)
		return runSupervise(ctx, fs, args[1:])
	}
	for _, c := range commands() {
		if len(args) == 0 || args[0] != c.name {
			continue
		}
		fs := flag.NewFlagSet("clusterctl "+c.name, flag.ContinueOnError)
		fs.Usage = func() {
			fmt.Fprintf(fs.Output(), "usage: clusterctl %s [flags] %s\n%s\n", c.name, c.args, c.what)
			fs.PrintDefaults()
		}
		return c.run(ctx, fs, args[1:])
	}
	if len(args) == 1 && (args[0] == "help" || strings.TrimLeft(args[0], "-") == "help") {
		fmt.Println(usage())
		return nil
	}
	return errors.New(usage())
}

func usage() string {
	lines := []string{"usage: clusterctl COMMAND [flags] (--help after a command shows its flags)"}
	for _, c := range commands() {
		lines = append(lines, fmt.Sprintf("  %-16s %s", c.name, c.what))
	}
	return strings.Join(lines, "\n")
}

// absolute makes flags' paths independent of the working directory, which is
// another one for the supervisor.
func absolute(paths ...*string) error {
	for _, p := range paths {
		a, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("resolve path %s: %w", *p, err)
		}
		*p = a
	}
	return nil
}
