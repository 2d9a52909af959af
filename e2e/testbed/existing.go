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

func (e *existing) Preflight(context.Context) error {
	for variable, meaning := range map[string]string{
		"KUBECONFIG": "the kubeconfig of the cluster to use",
		EnvLoadImage: "a program that loads an image archive, given as its argument, into the cluster",
	} {
		if os.Getenv(variable) == "" {
			return fmt.Errorf("%s=existing needs %s: set it to %s", EnvProvider, variable, meaning)
		}
	}
	return nil
}

func (e *existing) Up(ctx context.Context) (string, error) {
	return os.Getenv("KUBECONFIG"), e.Preflight(ctx)
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
