package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// patienceToStart is how long etcd and the API server can take to start or to stop. They take seconds on an idle
// machine.
const patienceToStart = 2 * time.Minute

// serve starts etcd and an API server, connects the Bed and installs the kinds.
func (b *Bed) serve(ctx context.Context, o *options) error {
	b.environment = &envtest.Environment{
		ErrorIfCRDPathMissing:    true,
		CRDInstallOptions:        envtest.CRDInstallOptions{MaxTime: patienceToStart},
		ControlPlaneStartTimeout: patienceToStart,
		ControlPlaneStopTimeout:  patienceToStart,
	}
	if !o.withoutKinds {
		kinds, err := SnapshotKinds()
		if err != nil {
			return err
		}
		b.environment.CRDInstallOptions.Paths = append(kinds, filepath.Join(root(), "config", "crd", "bases"))
	}
	err := rarelyCollecting(func() (err error) {
		b.Config, err = b.environment.Start()
		return err
	})
	if err != nil {
		return fmt.Errorf("start the API server: %w", err)
	}
	b.Config.QPS = -1 // the API server alone limits the tests
	b.Kubeconfig = filepath.Join(b.environment.ControlPlane.GetAPIServer().CertDir, "kubeconfig")
	if err := os.WriteFile(b.Kubeconfig, b.environment.KubeConfig, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	if b.Client, err = client.NewWithWatch(b.Config, client.Options{Scheme: Scheme()}); err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	if o.catalog {
		if err := InstallCatalog(ctx, b.Client); err != nil {
			return err
		}
	}
	for _, name := range o.manifests {
		if err := b.apply(ctx, name); err != nil {
			return fmt.Errorf("apply %s: %w", name, err)
		}
	}
	return nil
}

// How etcd, the API server and the tests collect garbage. With Go's defaults that takes up to a third of their time.
// The limit keeps two packages at a time in the memory of a small machine: an API server remembers the changes of the
// last minute, and with 1 GiB it collects garbage most of the time.
const (
	collectAt   = 400 // percent
	memoryLimit = 3 << 30
)

// rarelyCollecting calls start, which starts etcd and the API server, in an environment with these settings.
func rarelyCollecting(start func() error) error {
	for name, value := range map[string]int{"GOGC": collectAt, "GOMEMLIMIT": memoryLimit} {
		before, set := os.LookupEnv(name)
		if err := os.Setenv(name, strconv.Itoa(value)); err != nil {
			return err
		}
		defer func() {
			if set {
				_ = os.Setenv(name, before)
			} else {
				_ = os.Unsetenv(name)
			}
		}()
	}
	return start()
}

// apply applies the objects of a file of the repository.
func (b *Bed) apply(ctx context.Context, name string) error {
	content, err := os.ReadFile(filepath.Join(root(), filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	return applyAll(ctx, b.Client, bytes.NewReader(content))
}

// applyAll applies the objects of a YAML stream. It does not create them, because the API server delays a creation by
// two seconds if the kind is new.
func applyAll(ctx context.Context, c client.Client, stream io.Reader) error {
	decoder := yaml.NewYAMLOrJSONDecoder(stream, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
			client.FieldOwner("testbed")); err != nil {
			return err
		}
	}
}

// root returns the root of the repository.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for filepath.Dir(dir) != dir {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}
