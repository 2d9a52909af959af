package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func kubernetesVersion(ctx context.Context, module string) (string, error) {
	return goList(ctx, module, "{{.Version}}", "k8s.io/kubernetes")
}

// ldflags returns the linker's flags for Kubernetes at a version like v1.36.3.
// Without them the components call themselves v0.0.0-master, and clients that
// parse the server's version fail.
func ldflags(version string) (string, error) {
	part := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(part) != 3 {
		return "", fmt.Errorf("parse Kubernetes version %q: want three numbers", version)
	}
	const set = " -X k8s.io/component-base/version."
	return "-s -w" + set + "gitVersion=" + version + set + "gitMajor=" + part[0] + set + "gitMinor=" + part[1], nil
}

// links makes the names that envtest looks for in KUBEBUILDER_ASSETS. The one
// program behind them does what the name it is called by says.
func links(dir string) error {
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		link := filepath.Join(dir, name)
		if err := remove(link); err != nil {
			return err
		}
		if err := os.Symlink("kube", link); err != nil {
			return fmt.Errorf("link to kube: %w", err)
		}
	}
	return nil
}

// copyCRDs copies the snapshot CRDs out of the module cache. It leaves out the
// CRDs of group snapshots: the sidecars need them only behind a feature gate.
func copyCRDs(ctx context.Context, module, dir string) error {
	client, err := goList(ctx, module, "{{.Dir}}", "github.com/kubernetes-csi/external-snapshotter/client/v8")
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(client, "config", "crd", "snapshot.storage.k8s.io_*.yaml"))
	if err != nil {
		return fmt.Errorf("list the snapshot CRDs: %w", err)
	}
	if len(files) == 0 {
		return fmt.Errorf("list the snapshot CRDs: none in %s", client)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create the directory of the CRDs: %w", err)
	}
	for _, f := range files {
		if err := copyFile(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			return fmt.Errorf("copy a CRD: %w", err)
		}
	}
	return nil
}

func goList(ctx context.Context, module, format, path string) (string, error) {
	cmd := goCommand(ctx, module, "list", "-m", "-f", format, path)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask for module %s: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
