package testbed

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Provider brings a cluster up and down. Up and Down can be repeated.
type Provider interface {
	// Name of the provider, as E2E_PROVIDER has it.
	Name() string
	// Up starts the cluster unless it runs and returns the path of a kubeconfig for it.
	Up(ctx context.Context) (kubeconfig string, err error)
	// LoadImages makes the images of these archives known to the cluster's nodes.
	LoadImages(ctx context.Context, archives ...string) error
	// Down removes the cluster and everything in it. It does nothing to a cluster it did not make.
	Down(ctx context.Context) error
}

// EnvProvider is the environment variable that chooses the provider: kind, local or existing.
const EnvProvider = "E2E_PROVIDER"

// Choose returns the provider that EnvProvider names, else kind where a Docker daemon answers, else local. An existing
// cluster is used only when it is named.
func Choose(ctx context.Context, root string, out io.Writer) (Provider, error) {
	run := runner{root: root, out: out}
	switch name := os.Getenv(EnvProvider); name {
	case "kind":
		return &kind{run}, nil
	case "local":
		return &local{run}, nil
	case "existing":
		return &existing{run}, nil
	case "":
		if dockerAnswers(ctx) {
			return &kind{run}, nil
		}
		return &local{run}, nil
	default:
		return nil, fmt.Errorf("%s is %q: it is one of kind, local, existing", EnvProvider, name)
	}
}

// dockerAnswers tells a Docker daemon from a docker program without one.
func dockerAnswers(ctx context.Context) bool {
	return exec.CommandContext(ctx, "docker", "info").Run() == nil
}

// runner starts programs whose output the user sees.
type runner struct {
	root string
	out  io.Writer
}

func (r runner) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.root, r.out, r.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w", name, args[0], err)
	}
	return nil
}
