package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// fieldManager of everything the testbed applies.
const fieldManager = "cairn-testbed"

// applyDir builds a kustomization and deploys it, as "kubectl apply --server-side -k" does.
func (t *Testbed) applyDir(ctx context.Context, dir string) error {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return fmt.Errorf("build %s: %w", dir, err)
	}
	data, err := built.AsYaml()
	if err != nil {
		return fmt.Errorf("write %s as YAML: %w", dir, err)
	}
	return t.deploy(ctx, data)
}

func (t *Testbed) applyServers(ctx context.Context) error {
	data, err := os.ReadFile(filepath.Join(t.manifests(), "servers.yaml"))
	if err != nil {
		return fmt.Errorf("read the servers' manifest: %w", err)
	}
	return t.deploy(ctx, data)
}

// deploy applies YAML documents whose Deployments run images that were loaded.
func (t *Testbed) deploy(ctx context.Context, data []byte) error {
	objects, err := ssautil.ReadObjects(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read objects: %w", err)
	}
	if err := t.pinImages(objects); err != nil {
		return err
	}
	return t.ApplyObjects(ctx, objects...)
}

// Apply applies a stream of YAML documents in an order that works: namespaces and definitions first.
func (t *Testbed) Apply(ctx context.Context, data []byte) error {
	objects, err := ssautil.ReadObjects(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read objects: %w", err)
	}
	return t.ApplyObjects(ctx, objects...)
}

// ApplyObjects applies objects in an order that works.
func (t *Testbed) ApplyObjects(ctx context.Context, objects ...*unstructured.Unstructured) error {
	poller := polling.NewStatusPoller(t.Client, t.Client.RESTMapper(), polling.Options{})
	manager := ssa.NewResourceManager(t.Client, poller,
		ssa.Owner{Field: fieldManager, Group: "testbed.backup.cairn.dev"})
	opts := ssa.DefaultApplyOptions()
	opts.WaitInterval, opts.WaitTimeout = 200*time.Millisecond, Patience
	if _, err := manager.ApplyAllStaged(ctx, objects, opts); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return nil
}

// Patience is how long to wait for something that takes seconds on an idle machine, such as the start of a pod.
const Patience = 12 * time.Minute

// Poll calls done every 200 ms until it returns true. When the time is over it returns the last error of done, or an
// error that names what.
func Poll(ctx context.Context, timeout time.Duration, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		ok, err := done(ctx)
		if err == nil && ok {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("wait for %s: %w", what, last)
			}
			return fmt.Errorf("wait for %s: not within %s", what, timeout)
		case <-tick.C:
		}
	}
}

func (t *Testbed) waitDeployment(ctx context.Context, key client.ObjectKey) error {
	return Poll(ctx, Patience, "Deployment "+key.String(), func(ctx context.Context) (bool, error) {
		d, err := t.deployment(ctx, key)
		if err != nil {
			return false, client.IgnoreNotFound(err)
		}
		ready := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas &&
			d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
		return ready, nil
	})
}

func (t *Testbed) deployment(ctx context.Context, key client.ObjectKey) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	if err := t.Client.Get(ctx, key, &d); err != nil {
		return nil, fmt.Errorf("get Deployment %s: %w", key, err)
	}
	return &d, nil
}
