package cluster

import (
	"fmt"
	"os"

	"github.com/cairn-backup/cairn/hack/cluster/internal/image"
)

const (
	pauseImage   = "cairn.local/pause:dev"
	toolboxImage = "cairn.local/toolbox:dev"
)

// loadOwnImages makes and imports the images the cluster itself needs. Nothing
// can be pulled, so even the pause image has to be made here.
func (c *Cluster) loadOwnImages() error {
	for ref, prog := range map[string]string{pauseImage: "pause", toolboxImage: "toolbox"} {
		spec := image.Spec{
			Ref: ref, Entrypoint: []string{"/" + prog}, Files: []image.File{{Source: c.bin(prog), Path: "/" + prog}},
		}
		if err := c.LoadImage(spec); err != nil {
			return err
		}
	}
	return nil
}

// LoadImage makes an image and imports it into the running cluster.
func (c *Cluster) LoadImage(spec image.Spec) error {
	tmp, err := os.CreateTemp("", "image-*.tar")
	if err != nil {
		return fmt.Errorf("create a file for the image: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := image.Write(tmp, spec); err != nil {
		return err
	}
	return c.LoadArchives(tmp.Name())
}

// LoadArchives imports docker-archive tar files into the running cluster.
func (c *Cluster) LoadArchives(files ...string) error {
	for _, f := range files {
		if err := run("ctr", "-a", c.containerdSocket(), "-n", "k8s.io", "images", "import", f); err != nil {
			return fmt.Errorf("import image archive %s: %w", f, err)
		}
	}
	return nil
}
