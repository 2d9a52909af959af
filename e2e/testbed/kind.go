package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kindCluster is the name of the cluster that the kind provider makes.
const kindCluster = "cairn"

// kind is a cluster in Docker containers, made by the program of that name.
type kind struct{ runner }

func (k *kind) Name() string { return "kind" }

func (k *kind) Up(ctx context.Context) (string, error) {
	kubeconfig := filepath.Join(k.root, "bin", "kind.kubeconfig")
	clusters, err := exec.CommandContext(ctx, "kind", "get", "clusters").Output()
	if err != nil {
		return "", fmt.Errorf("list kind clusters: %w", err)
	}
	if slices.Contains(strings.Fields(string(clusters)), kindCluster) {
		return kubeconfig, k.run(ctx, "kind", "export", "kubeconfig", "--name", kindCluster, "--kubeconfig", kubeconfig)
	}
	return kubeconfig, k.run(ctx, "kind", "create", "cluster", "--name", kindCluster, "--kubeconfig", kubeconfig,
		"--config", filepath.Join(k.root, "hack", "kind.yaml"), "--wait", "2m")
}

func (k *kind) LoadImages(ctx context.Context, archives ...string) error {
	for _, a := range archives {
		if err := k.run(ctx, "kind", "load", "image-archive", a, "--name", kindCluster); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind) Down(ctx context.Context) error {
	if err := os.Remove(filepath.Join(k.root, "bin", "kind.kubeconfig")); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the kubeconfig of kind: %w", err)
	}
	return k.run(ctx, "kind", "delete", "cluster", "--name", kindCluster)
}
