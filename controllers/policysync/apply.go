package policysync

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fluxcd/pkg/ssa"
	ssaerrors "github.com/fluxcd/pkg/ssa/errors"
	"github.com/fluxcd/pkg/ssa/normalize"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
)

// apply applies the objects that differ from the cluster, after the API server accepted all of them in a dry run, and
// returns how many it wrote. Namespaces are written before the dry run of the rest, which needs them. What is being
// deleted is left out.
func (a *applier) apply(ctx context.Context, objects []build.Object, live liveObjects) (changed int, err error) {
	var namespaces, rest []*unstructured.Unstructured
	for _, o := range objects {
		u := o.Unstructured
		if a.going[keyOf(u)] {
			continue
		}
		if stageOf(u.GroupVersionKind()) == 0 {
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

// applySet applies the objects that changed since they were last applied, and adds the new state of all objects to
// after.
func (a *applier) applySet(
	ctx context.Context, set []*unstructured.Unstructured, live liveObjects, after map[key]fingerprint,
) (int, error) {
	wanted := make(map[key][sha256.Size]byte, len(set))
	p := &planner{
		Client: a.client, current: a.current, part: a.part, live: live,
		encoded: make(map[key][]byte, len(set)), wanted: wanted,
	}
	manager := ssa.NewResourceManager(p, nil, owner)
	manager.SetConcurrency(concurrency)
	manager.SetOwnerLabels(set, a.obj.Name, a.obj.Namespace)
	if err := normalize.UnstructuredList(set); err != nil {
		return 0, fmt.Errorf("normalise objects: %w", err)
	}
	before, _ := a.applied.get(client.ObjectKeyFromObject(a.obj))
	var changed []*unstructured.Unstructured
	for _, u := range set {
		data, err := json.Marshal(u.Object)
		if err != nil {
			return 0, fmt.Errorf("encode %s/%s: %w", u.GetKind(), u.GetName(), err)
		}
		k, digest := keyOf(u), sha256.Sum256(data)
		if f, ok := before[k]; ok && f.unchanged(digest, u, live[k]) {
			after[k] = f
			continue
		}
		wanted[k], p.encoded[k] = digest, data
		changed = append(changed, u)
	}
	if len(changed) == 0 {
		return 0, nil
	}
	if err := a.takeFromKubectl(ctx, changed, live); err != nil {
		return 0, err
	}
	if _, err := manager.ApplyAll(ctx, changed, ssa.DefaultApplyOptions()); err != nil {
		return 0, err
	}
	if err := p.send(ctx); err != nil {
		return len(p.writes), err
	}
	for k, digest := range wanted {
		if u := live[k]; u != nil { // a dry run found nothing to do
			after[k] = fingerprintOf(digest, u)
		}
	}
	for _, w := range p.writes {
		after[w.key] = w.after
	}
	return len(p.writes), nil
}

// planner is the client of the ResourceManager. It answers reads with what was read already, and holds back writes
// until all dry runs have passed. The ResourceManager alone would send them one after the other.
type planner struct {
	client.Client
	current func(context.Context) error
	// part tells others of a revision that changes what decides. It is nil in a pass that writes no status.
	part    *part
	live    liveObjects
	encoded map[key][]byte // the encoded objects to apply
	wanted  map[key][sha256.Size]byte

	mu     sync.Mutex
	writes []*write
}

type write struct {
	key
	options []client.PatchOption
	after   fingerprint
	done    bool
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

// Patch sends dry runs and keeps the writes for send.
func (p *planner) Patch(
	ctx context.Context, object client.Object, patch client.Patch, opts ...client.PatchOption,
) error {
	u, ok := object.(*unstructured.Unstructured)
	if !ok || patch.Type() != types.ApplyPatchType {
		return p.Client.Patch(ctx, object, patch, opts...)
	}
	k := keyOf(u)
	if options := (&client.PatchOptions{}).ApplyOptions(opts); len(options.DryRun) > 0 {
		if p.live[k] != nil { // the ResourceManager compares the answer with the live object
			return p.Client.Patch(ctx, object, patch, opts...)
		}
		_, err := p.apply(ctx, k, opts)
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = append(p.writes, &write{key: k, options: opts})
	return nil
}

// apply applies an object and asks the API server to answer with metadata only.
func (p *planner) apply(ctx context.Context, k key, opts []client.PatchOption) (*metav1.PartialObjectMetadata, error) {
	answer := &metav1.PartialObjectMetadata{}
	answer.SetGroupVersionKind(k.gvk)
	answer.SetNamespace(k.Namespace)
	answer.SetName(k.Name)
	return answer, p.Client.Patch(ctx, answer, client.RawPatch(types.ApplyPatchType, p.encoded[k]), opts...)
}

// send sends the writes, stage by stage.
func (p *planner) send(ctx context.Context) error {
	deciding, pending := p.decisive()
	for stage := range stages {
		if p.part != nil && deciding > 0 && slices.ContainsFunc(p.writes, func(w *write) bool {
			return stageOf(w.gvk) == stage && decides(w.gvk)
		}) {
			if err := p.part.announce(ctx, deciding > 1 && pending); err != nil {
				return err
			}
		}
		if err := p.sendStage(ctx, stage); err != nil {
			// If none of the writes decides, they say nothing of an earlier part: those of Namespaces come alone.
			if _, pending := p.decisive(); p.part != nil && deciding > 0 && !pending {
				p.part.end()
			}
			return err
		}
	}
	return nil
}

// sendStage sends the writes of a stage. One that fails stops no other of them.
func (p *planner) sendStage(ctx context.Context, stage int) error {
	g := errgroup.Group{}
	g.SetLimit(concurrency)
	for _, w := range p.writes {
		if stageOf(w.gvk) != stage {
			continue
		}
		g.Go(func() error {
			if err := p.current(ctx); err != nil {
				return err
			}
			answer, err := p.apply(ctx, w.key, w.options)
			if err != nil {
				return &objectError{w.key, err}
			}
			w.after, w.done = fingerprintOf(p.wanted[w.key], answer), true
			return nil
		})
	}
	return g.Wait()
}

// decisive returns how many of the writes decide which Snapshots go, and whether one of these is not done yet. If they
// are several, the cluster can hold parts of two revisions then, which together let Snapshots go that both keep. An
// object that is yet to be made is not pending: while it is missing, it lets none go.
func (p *planner) decisive() (deciding int, pending bool) {
	for _, w := range p.writes {
		if decides(w.gvk) {
			deciding++
			pending = pending || !w.done && p.live[w.key] != nil
		}
	}
	return deciding, pending
}

// decides reports whether an object of a kind can decide which Snapshots go. From a Repository that is paused, none do.
func decides(gvk schema.GroupVersionKind) bool {
	return gvk.Group == v1alpha1.Group && slices.Contains([]string{
		v1alpha1.RepositoryKind, v1alpha1.RetentionPolicyKind, v1alpha1.BackupConfigurationKind,
		v1alpha1.BackupBatchKind,
	}, gvk.Kind)
}

// stages is the number of stages: Namespaces, other kinds of Kubernetes, objects that policy refers to, policy.
const stages = 4

func stageOf(gvk schema.GroupVersionKind) int {
	switch {
	case gvk.Group == "" && gvk.Kind == "Namespace":
		return 0
	case gvk.Group != v1alpha1.Group:
		return 1
	case slices.Contains([]string{
		v1alpha1.FunctionKind, v1alpha1.AddonKind, v1alpha1.BackupStorageKind,
		v1alpha1.RepositoryKind,
	}, gvk.Kind):
		return 2
	}
	return 3
}

// objectError is an API server's refusal of an object.
type objectError struct {
	key
	err error
}

// Error names the object.
func (e *objectError) Error() string {
	return fmt.Sprintf("apply %s/%s/%s: %s", e.gvk.Kind, e.Namespace, e.Name, e.err)
}

// Unwrap returns the API server's error.
func (e *objectError) Unwrap() error { return e.err }

// position returns "<file>:<line>: " of the object that an error is about, or "" if no object is known.
func position(err error, objects []build.Object) string {
	var about key
	var dry *ssaerrors.DryRunErr
	var ours *objectError
	switch {
	case errors.As(err, &dry):
		about = keyOf(dry.InvolvedObject())
	case errors.As(err, &ours):
		about = ours.key
	default:
		return ""
	}
	for _, o := range objects {
		if keyOf(o.Unstructured) == about {
			return fmt.Sprintf("%s:%d: ", o.File, o.Line("metadata.name"))
		}
	}
	return ""
}
