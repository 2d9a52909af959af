// Command cairn checks policy, shows what the cluster made of it, and starts backups and restores. As kubectl-cairn
// it is a plug-in of kubectl.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

func main() {
	os.Exit(run())
}

func run() int {
	// Libraries log for long-running programs. Here, every error is returned and printed once.
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	return cli.Run(ctx, command.Options{IOStreams: streams, Program: os.Args[0]}, os.Args[1:])
}
