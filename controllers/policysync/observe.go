package policysync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/managedfields"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// listFrom is the number of objects of a kind in a namespace from which one list is cheaper than a get for each.
	listFrom = 10
	// listPage is the number of objects in one answer to a list.
	listPage = 500
)

// key identifies an object of the cluster.
type key struct {
	gvk schema.GroupVersionKind
	types.NamespacedName
}

func keyOf(u *unstructured.Unstructured) key {
	return key{u.GroupVersionKind(), client.ObjectKeyFromObject(u)}
}

// liveObjects holds the objects of the cluster that have the names of the objects to apply.
type liveObjects map[key]*unstructured.Unstructured

// observe reads the live objects, and returns a fault if one of them belongs to somebody else. What is being deleted is
// not among them.
func (a *applier) observe(ctx context.Context, objects []build.Object) (liveObjects, *fault) {
	live, err := a.read(ctx, objects)
	if err == nil {
		err = a.leaveOut(ctx, objects, live)
	}
	if err != nil {
		return nil, applyFault(ctx, err, objects)
	}
	var foreign []string
	var first *key
	for _, o := range objects {
		u := live[keyOf(o.Unstructured)]
		if u == nil {
			continue
		}
		name := fmt.Sprintf("%s/%s/%s", u.GetKind(), u.GetNamespace(), u.GetName())
		by, err := a.otherOwner(ctx, u)
		if err != nil {
			return nil, applyFault(ctx, err, nil)
		}
		if by != "" {
			foreign = append(foreign, fmt.Sprintf("%s (in %s) belongs to %s", name, o.File, by))
			if first == nil {
				k := keyOf(u)
				first = &k
			}
		}
	}
	if len(foreign) == 0 {
		return live, nil
	}
	slices.Sort(foreign)
	return nil, &fault{
		reason: v1alpha1.ReasonOwnedByOther, stalled: true, foreign: first,
		message: text.FirstFew(foreign) + ": nothing was applied. Remove it from one of the two sources",
	}
}

// leaveOut takes out of live what is being deleted, or is in a Namespace that is being deleted: what is written into it
// goes with it, and the API server refuses new objects there. Such an object holds up no other.
func (a *applier) leaveOut(ctx context.Context, objects []build.Object, live liveObjects) error {
	ends, err := a.endingNamespaces(ctx, objects, live)
	if err != nil {
		return err
	}
	a.going = map[key]bool{}
	for _, o := range objects {
		k := keyOf(o.Unstructured)
		u := live[k]
		inside := ends[k.Namespace]
		if !inside && (u == nil || u.GetDeletionTimestamp() == nil) {
			continue
		}
		a.going[k] = true
		delete(live, k)
		if !inside { // otherwise its Namespace is named
			a.waits = append(a.waits, waitsFor(u))
		}
	}
	kind := corev1.SchemeGroupVersion.WithKind(namespaceKind)
	for namespace, ending := range ends {
		if ending && !a.going[key{kind, types.NamespacedName{Name: namespace}}] {
			a.waits = append(a.waits, "Namespace/"+namespace+
				" is being deleted: Cairn applies what policy has in it once it is there again")
		}
	}
	slices.Sort(a.waits)
	return nil
}

// endingNamespaces reports which Namespaces of the objects are being deleted. Those that policy does not have come from
// the cache: if it is outdated, the API server refuses the objects, and the pass is tried again.
func (a *applier) endingNamespaces(
	ctx context.Context, objects []build.Object, live liveObjects,
) (map[string]bool, error) {
	ends := map[string]bool{"": false}
	for k, u := range live {
		if k.gvk.Group == "" && k.gvk.Kind == namespaceKind {
			ends[k.Name] = u.GetDeletionTimestamp() != nil
		}
	}
	for _, o := range objects {
		name := o.Unstructured.GetNamespace()
		if _, known := ends[name]; known {
			continue
		}
		namespace := &corev1.Namespace{}
		err := a.Get(ctx, types.NamespacedName{Name: name}, namespace)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Namespace %s: %w", name, err)
		}
		ends[name] = err == nil && !namespace.DeletionTimestamp.IsZero()
	}
	return ends, nil
}

// maxWait is how much of the words of an object that is being deleted a message holds.
const maxWait = 1000

// waitsFor says that an object is being deleted, and what it waits for as its own conditions say it.
func waitsFor(u *unstructured.Unstructured) string {
	name := describe(v1alpha1.ResourceRef{ID: object.UnstructuredToObjMetadata(u).String()})
	if u.GetKind() == namespaceKind {
		return name + " is being deleted: Cairn applies it, and what policy has in it, again once it is gone. Its " +
			"status says what it waits for"
	}
	name += " is being deleted: Cairn applies it again once it is gone. "
	for _, kind := range []string{v1alpha1.ConditionWiped, meta.ReadyCondition} {
		c := conditions.Get(conditions.UnstructuredGetter(u), kind)
		if c != nil && c.Status != metav1.ConditionTrue && c.Message != "" {
			return name + "It says: " + text.Cut(c.Message, maxWait)
		}
	}
	return name + "Check its finalizers"
}

// otherOwner returns who else manages an object, or "". A deleted PolicySync owns nothing.
func (a *applier) otherOwner(ctx context.Context, u *unstructured.Unstructured) (string, error) {
	labels := u.GetLabels()
	for _, group := range []string{"kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"} {
		if name := labels[group+"/name"]; name != "" {
			return fmt.Sprintf("Flux's %s/%s", labels[group+"/namespace"], name), nil
		}
	}
	if c := metav1.GetControllerOf(u); c != nil {
		return c.Kind + "/" + c.Name + ", which made it", nil
	}
	other := types.NamespacedName{Namespace: labels[v1alpha1.LabelSyncNamespace], Name: labels[v1alpha1.LabelSyncName]}
	if other.Name == "" || other == client.ObjectKeyFromObject(a.obj) {
		return "", nil
	}
	err := a.Get(ctx, other, &v1alpha1.PolicySync{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	return "PolicySync/" + other.String(), err
}

// stillForeign reports whether an object still belongs to somebody else, so that a pass would end as the last one did.
func (s *reconciling) stillForeign(ctx context.Context, k key) bool {
	a, f := s.applier(ctx)
	if f != nil {
		return false
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(k.gvk)
	if err := a.client.Get(ctx, k.NamespacedName, u); err != nil {
		return false
	}
	by, err := a.otherOwner(ctx, u)
	return err == nil && by != ""
}

// takeFromKubectl makes this PolicySync the owner of the fields that kubectl owns. Otherwise a field would stay after
// Git has dropped it, and one that somebody added by hand would stay for ever. It comes before the dry run, which then
// shows what an apply removes. live has the objects as they are then. The values of a Secret stay a person's, because
// they can be the only ones. So does what a person added to a RetentionPolicy, or the name of one in policy, because
// backups would go with it, and what a person added to what Cairn does not let change: see staysWithPerson and
// addedToPolicy. So does what other programs wrote, such as "cairn pause".
func (a *applier) takeFromKubectl(ctx context.Context, objects []*unstructured.Unstructured, live liveObjects) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for _, u := range objects {
		have := live[keyOf(u)]
		if have == nil || staysWithPerson(have) {
			continue
		}
		g.Go(func() error {
			err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return a.take(ctx, u, have) })
			if client.IgnoreNotFound(err) != nil {
				return &objectError{keyOf(have), err}
			}
			return nil
		})
	}
	return g.Wait()
}

// staysWithPerson reports whether nothing of an object is taken from kubectl: of a Secret; of a Repository, whose
// spec.paused protects its backups, and whose other fields mostly can't change; and of runs and restores, whose spec
// never changes.
func staysWithPerson(u *unstructured.Unstructured) bool {
	switch u.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Kind: secretKind}:
		return true
	case schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.RepositoryKind},
		schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.BackupSessionKind},
		schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.RestoreSessionKind},
		schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.RestoreBatchKind}:
		return true
	default:
		return false
	}
}

// take takes the fields of one object. After a conflict it has read the object anew.
func (a *applier) take(ctx context.Context, wanted, have *unstructured.Unstructured) error {
	var stays managedfields.Stays
	switch have.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.RetentionPolicyKind}:
		stays = managedfields.Added
	case schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind},
		schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.BackupBatchKind}:
		stays = addedToPolicy(wanted, have)
	}
	fields, err := managedfields.TakeFromKubectl(owner.Field, have, stays)
	if err != nil || fields == nil {
		return err
	}
	if err := a.current(ctx); err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"managedFields": fields, "resourceVersion": have.GetResourceVersion()},
	})
	if err != nil {
		return fmt.Errorf("encode managedFields: %w", err)
	}
	err = a.client.Patch(ctx, have, client.RawPatch(types.MergePatchType, data), client.FieldOwner(owner.Field))
	if !apierrors.IsConflict(err) {
		return err
	}
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(have), have); err != nil {
		return err
	}
	return err
}

// read gets the objects. It lists where many objects of a kind are in one namespace.
func (a *applier) read(ctx context.Context, objects []build.Object) (liveObjects, error) {
	type place struct {
		gvk       schema.GroupVersionKind
		namespace string
	}
	wanted := map[place][]string{}
	for _, o := range objects {
		p := place{o.Unstructured.GroupVersionKind(), o.Unstructured.GetNamespace()}
		wanted[p] = append(wanted[p], o.Unstructured.GetName())
	}
	live := liveObjects{}
	var mu sync.Mutex
	add := func(u *unstructured.Unstructured) {
		mu.Lock()
		defer mu.Unlock()
		live[keyOf(u)] = u
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for p, names := range wanted {
		g.Go(func() error {
			// Secrets are never listed: a list would read foreign Secrets.
			if len(names) >= listFrom && p.gvk.Kind != "Secret" {
				err := a.list(ctx, p.gvk, p.namespace, names, add)
				if !apierrors.IsForbidden(err) {
					return err
				}
			}
			for _, name := range names {
				u := &unstructured.Unstructured{}
				u.SetGroupVersionKind(p.gvk)
				err := a.client.Get(ctx, types.NamespacedName{Namespace: p.namespace, Name: name}, u)
				if err == nil {
					add(u)
				} else if !apierrors.IsNotFound(err) {
					return fmt.Errorf("get %s %s/%s: %w", p.gvk.Kind, p.namespace, name, err)
				}
			}
			return nil
		})
	}
	return live, g.Wait()
}

func (a *applier) list(
	ctx context.Context, gvk schema.GroupVersionKind, namespace string, names []string,
	add func(*unstructured.Unstructured),
) error {
	want := make(map[string]bool, len(names))
	for _, name := range names {
		want[name] = true
	}
	page := &unstructured.UnstructuredList{}
	for {
		page.SetGroupVersionKind(gvk)
		err := a.client.List(ctx, page, client.InNamespace(namespace), client.Limit(listPage),
			client.Continue(page.GetContinue()))
		if err != nil {
			return fmt.Errorf("list %s in %s: %w", gvk.Kind, namespace, err)
		}
		for i := range page.Items {
			if want[page.Items[i].GetName()] {
				add(&page.Items[i])
			}
		}
		if page.GetContinue() == "" {
			return nil
		}
	}
}
