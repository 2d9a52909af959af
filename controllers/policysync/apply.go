package policysync

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fluxcd/pkg/ssa"
	ssaerrors "github.com/fluxcd/pkg/ssa/errors"
	"github.com/fluxcd/pkg/ssa/normalize"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
)

// apply applies what differs from the cluster, after the API server accepted all of that in a dry run, and says how many
// objects it wrote. Namespaces come before that, because the dry run needs them.
func (a *applier) apply(ctx context.Context, objects []build.Object, live liveObjects) (changed int, err error) {
	var namespaces, rest []*unstructured.Unstructured
	for _, o := range objects {
		u := o.Unstructured
		if stageOf(u) == 0 {
			namespaces = append(namespaces, u)
		} else {
			rest = append(rest, u)
		}
	}
	after := make(map[key]fingerprint, len(objects))
	for _, set := range [][]*unstructured.Unstructured{namespaces, rest} {
		if len(set) == 0 {
			continue
		}
		n, err := a.applySet(ctx, set, live, after)
		changed += n
		if err != nil {
			return changed, err
		}
	}
	a.applied.put(client.ObjectKeyFromObject(a.obj), after)
	return changed, nil
}

// applySet applies what changed since it was applied the last time, and adds the new state of all to after.
func (a *applier) applySet(ctx context.Context, set []*unstructured.Unstructured, live liveObjects, after map[key]fingerprint) (int, error) {
	p := &planner{Client: a.client, live: live}
	manager := ssa.NewResourceManager(p, nil, owner)
	manager.SetConcurrency(concurrency)
	manager.SetOwnerLabels(set, a.obj.Name, a.obj.Namespace)
	if err := normalize.UnstructuredList(set); err != nil {
		return 0, fmt.Errorf("normalise objects: %w", err)
	}
	before := a.applied.get(client.ObjectKeyFromObject(a.obj))
	wanted := make(map[key][sha256.Size]byte, len(set))
	var changed []*unstructured.Unstructured
	for _, u := range set {
		digest, err := digestOfObject(u)
		if err != nil {
			return 0, fmt.Errorf("encode %s/%s: %w", u.GetKind(), u.GetName(), err)
		}
		k := keyOf(u)
		if f, ok := before[k]; ok && f.unchanged(digest, u, live[k]) {
			after[k] = f
			continue
		}
		wanted[k] = digest
		changed = append(changed, u)
	}
	if len(changed) == 0 {
		return 0, nil
	}
	if _, err := manager.ApplyAll(ctx, changed, ssa.DefaultApplyOptions()); err != nil {
		return 0, err
	}
	if err := p.send(ctx); err != nil {
		return len(p.writes), err
	}
	for _, w := range p.writes { // the API server answered with the new state
		live[keyOf(w.object)] = w.object
	}
	for k, digest := range wanted {
		if u := live[k]; u != nil {
			after[k] = fingerprintOf(digest, u)
		}
	}
	return len(p.writes), nil
}

// planner is the client of the ResourceManager: it answers reads with what was read already, and keeps writes back until
// all dry runs are through. The ResourceManager would send them one after the other.
type planner struct {
	client.Client
	live liveObjects

	mu     sync.Mutex
	writes []write
}

type write struct {
	object  *unstructured.Unstructured
	patch   client.Patch
	options []client.PatchOption
}

// Get returns the object as it was read at the beginning of the pass.
func (p *planner) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	u, ok := into.(*unstructured.Unstructured)
	if !ok {
		return p.Client.Get(ctx, name, into, opts...)
	}
	have := p.live[key{u.GroupVersionKind(), name}]
	if have == nil {
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource(u.GetKind()).GroupResource(), name.Name)
	}
	have.DeepCopyInto(u)
	return nil
}

// Patch sends dry runs and keeps the rest for send.
func (p *planner) Patch(ctx context.Context, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
	options := (&client.PatchOptions{}).ApplyOptions(opts)
	u, ok := object.(*unstructured.Unstructured)
	if !ok || len(options.DryRun) > 0 {
		return p.Client.Patch(ctx, object, patch, opts...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = append(p.writes, write{u, patch, opts})
	return nil
}

// send makes the writes, stage by stage.
func (p *planner) send(ctx context.Context) error {
	for stage := range stages {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(concurrency)
		for _, w := range p.writes {
			if stageOf(w.object) != stage {
				continue
			}
			g.Go(func() error {
				if err := p.Client.Patch(ctx, w.object, w.patch, w.options...); err != nil {
					return &objectError{w.object, err}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// stages is the number of stages: Namespaces, what else Kubernetes has, what policy refers to, policy.
const stages = 4

func stageOf(u *unstructured.Unstructured) int {
	switch gvk := u.GroupVersionKind(); {
	case gvk.Group == "" && gvk.Kind == "Namespace":
		return 0
	case gvk.Group != v1alpha1.Group:
		return 1
	case slices.Contains([]string{v1alpha1.FunctionKind, v1alpha1.AddonKind, v1alpha1.BackupStorageKind, v1alpha1.RepositoryKind}, gvk.Kind):
		return 2
	}
	return 3
}

// objectError is a refusal of an object by the API server.
type objectError struct {
	object *unstructured.Unstructured
	err    error
}

// Error names the object.
func (e *objectError) Error() string {
	return fmt.Sprintf("apply %s/%s/%s: %s", e.object.GetKind(), e.object.GetNamespace(), e.object.GetName(), e.err)
}

// Unwrap is the API server's error.
func (e *objectError) Unwrap() error { return e.err }

// where is "<file>:<line>: " of the object that an error is about, or empty.
func where(err error, objects []build.Object) string {
	var about *unstructured.Unstructured
	var dry *ssaerrors.DryRunErr
	var ours *objectError
	switch {
	case errors.As(err, &dry):
		about = dry.InvolvedObject()
	case errors.As(err, &ours):
		about = ours.object
	default:
		return ""
	}
	for _, o := range objects {
		if keyOf(o.Unstructured) == keyOf(about) {
			return fmt.Sprintf("%s:%d: ", o.File, o.Line("metadata.name"))
		}
	}
	return ""
}
