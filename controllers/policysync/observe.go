package policysync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
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

// observe reads the live objects, and returns a fault if one of them belongs to somebody else.
func (a *applier) observe(ctx context.Context, objects []build.Object) (liveObjects, *fault) {
	live, err := a.read(ctx, objects)
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
		if u.GetDeletionTimestamp() != nil {
			return nil, &fault{
				reason:  v1alpha1.ReasonReconcileFailed,
				message: name + " is being deleted: Cairn applies it again once it is gone",
			}
		}
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
	more := ""
	if n := len(foreign) - 5; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return nil, &fault{
		reason: v1alpha1.ReasonOwnedByOther, stalled: true, foreign: first,
		message: strings.Join(foreign[:min(len(foreign), 5)], ", ") + more +
			": nothing was applied. Remove it from one of the two sources",
	}
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
