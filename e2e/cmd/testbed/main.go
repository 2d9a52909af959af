// Command testbed starts a cluster, deploys Cairn with a Git and an S3 server into it, shows the demo there and removes
// it again. It is called by the Makefile, from the top of the checkout.
//
//	testbed up | deploy | demo | down
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairn-backup/cairn/e2e/demo"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: testbed up|deploy|demo|down")
	}
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the checkout: %w", err)
	}
	provider, err := testbed.Choose(ctx, root, out)
	if err != nil {
		return err
	}
	switch args[0] {
	case "down":
		return provider.Down(ctx)
	case "up":
		_, err := testbed.Connect(ctx, provider, root, out)
		return err
	case "deploy":
		bed, err := deployed(ctx, provider, root, out)
		if err != nil {
			return err
		}
		printAddresses(out, bed)
		return nil
	case "demo":
		bed, err := deployed(ctx, provider, root, out)
		if err != nil {
			return err
		}
		return demo.Run(ctx, bed, root, out)
	default:
		return fmt.Errorf("there is no command %q: it is one of up, deploy, demo, down", args[0])
	}
}

func deployed(ctx context.Context, p testbed.Provider, root string, out io.Writer) (*testbed.Testbed, error) {
	bed, err := testbed.Connect(ctx, p, root, out)
	if err != nil {
		return nil, err
	}
	return bed, bed.Deploy(ctx)
}

func printAddresses(out io.Writer, bed *testbed.Testbed) {
	fmt.Fprintf(out, `
kubeconfig  %s
Git server  %s (from here)  %s, %s (from pods)
            user and password, private key and known_hosts: Secret git-server in namespace %s
S3 server   %s (from here)  %s (from pods)
            keys: Secret s3-server in namespace %s

  export KUBECONFIG=%s
  kubectl get all -n %s
`, bed.Kubeconfig, bed.Git.HostURL, bed.Git.URL, bed.Git.SSHURL, testbed.Namespace,
		bed.S3.HostURL, bed.S3.URL, testbed.Namespace, bed.Kubeconfig, testbed.SystemNamespace)
}
