package testbed

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// local is the single-node cluster of hack/cluster, run by clusterctl on this machine.
type local struct{ runner }

func (l *local) Name() string { return "local" }

func (l *local) clusterctl() string { return filepath.Join(l.root, "bin", "clusterctl") }

func (l *local) Up(ctx context.Context) (string, error) {
	if err := l.run(ctx, l.clusterctl(), "up"); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, l.clusterctl(), "kubeconfig").Output()
	if err != nil {
		return "", fmt.Errorf("ask clusterctl for the kubeconfig: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (l *local) LoadImages(ctx context.Context, archives ...string) error {
	return l.run(ctx, l.clusterctl(), append([]string{"load-image"}, archives...)...)
}

func (l *local) Down(ctx context.Context) error {
	return l.run(ctx, l.clusterctl(), "down", "--purge")
}
