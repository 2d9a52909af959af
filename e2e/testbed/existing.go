package testbed

import (
	"context"
	"fmt"
	"os"
)

// EnvLoadImage is the environment variable with the command that the existing provider loads images with. The archive's
// path is its last argument.
const EnvLoadImage = "E2E_LOAD_IMAGE"

// existing is a cluster that somebody else made. KUBECONFIG names it.
type existing struct{ runner }

func (e *existing) Name() string { return "existing" }

func (e *existing) Up(context.Context) (string, error) {
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		return "", fmt.Errorf("%s=existing needs KUBECONFIG: set it to the kubeconfig of the cluster to use",
			EnvProvider)
	}
	return kubeconfig, nil
}

func (e *existing) LoadImages(ctx context.Context, archives ...string) error {
	for _, a := range archives {
		if err := e.run(ctx, os.Getenv(EnvLoadImage), a); err != nil {
			return err
		}
	}
	return nil
}

// Down leaves the cluster alone: it is not ours.
func (e *existing) Down(context.Context) error { return nil }
