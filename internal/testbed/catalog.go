package testbed

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/policies"
)

// InstallCatalog applies the built-in Addons and Functions with c.
func InstallCatalog(ctx context.Context, c client.Client) error {
	files, err := policies.Catalog.ReadDir("catalog")
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	for _, file := range files {
		content, err := policies.Catalog.Open("catalog/" + file.Name())
		if err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		if err := applyAll(ctx, c, content); err != nil {
			return fmt.Errorf("apply catalog/%s: %w", file.Name(), err)
		}
	}
	return nil
}
