// Package selection reads the objects that the selectors of BackupBatches can find in a cluster. Names and labels come
// from the cache, which keeps nothing else of these kinds. The volumes of a workload's pods are read from the API
// server, once for each generation of a workload that a selector finds.
package selection

import (
	"context"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Reader reads the objects that selectors find. The zero value is ready to use; it is safe for concurrent use.
type Reader struct {
	mu    sync.Mutex
	known map[place]map[types.UID]volumes
}

// place is a namespace and a kind of objects in it.
type place struct {
	namespace string
	kind      v1alpha1.TargetKind
}

// volumes are the volumes of a workload's pods at a generation.
type volumes struct {
	generation int64
	policy.PodVolumes
}

// GroupVersionKind returns the full kind of a kind that selectors can find.
func GroupVersionKind(kind v1alpha1.TargetKind) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: kind.Group(), Version: "v1", Kind: string(kind)}
}

// Candidates reads the objects that the selectors of a batch can find, for policy.FindAmong. A batch without selectors
// costs nothing. cached has the metadata of the kinds; live reads from the API server.
func (r *Reader) Candidates(
	ctx context.Context, cached, live client.Reader, batch *v1alpha1.BackupBatch,
) ([]policy.Candidate, error) {
	return r.each(ctx, cached, live, batch, func(kind v1alpha1.TargetKind) wanted {
		targets := Selecting(batch, kind)
		if len(targets) == 0 {
			return nil
		}
		return func(o *metav1.PartialObjectMetadata) bool {
			return slices.ContainsFunc(targets, func(t *v1alpha1.BatchTarget) bool {
				return policy.Selects(t.Selector, kind, o.Name, o.Labels)
			})
		}
	})
}

// Mounting reads the workloads that Named returns, for policy.Overlaps, as Candidates does.
func (r *Reader) Mounting(
	ctx context.Context, cached, live client.Reader, batch *v1alpha1.BackupBatch,
) ([]policy.Candidate, error) {
	return r.each(ctx, cached, live, batch, func(kind v1alpha1.TargetKind) wanted {
		names := Named(batch, kind)
		if len(names) == 0 {
			return nil
		}
		return func(o *metav1.PartialObjectMetadata) bool { return names[o.Name] }
	})
}

// wanted reports whether an object of a kind is to be read; nil if none is.
type wanted func(*metav1.PartialObjectMetadata) bool

// each reads the wanted objects of each kind.
func (r *Reader) each(
	ctx context.Context, cached, live client.Reader, batch *v1alpha1.BackupBatch,
	of func(v1alpha1.TargetKind) wanted,
) ([]policy.Candidate, error) {
	var candidates []policy.Candidate
	for _, kind := range v1alpha1.TargetKinds {
		wanted := of(kind)
		if wanted == nil {
			continue
		}
		found, err := r.candidates(ctx, cached, live, batch, kind, wanted)
		if err != nil {
			return nil, err
		}
		candidates = append(candidates, found...)
	}
	return candidates, nil
}

// claimsOfStorages returns the names of the claims in which the BackupStorages of a batch keep its backups. A selector
// finds none of them: such a claim would be backed up into itself, and hold more each night.
func claimsOfStorages(
	ctx context.Context, cached client.Reader, batch *v1alpha1.BackupBatch,
) (map[string]bool, error) {
	var list v1alpha1.BackupStorageList
	if err := cached.List(ctx, &list, client.InNamespace(batch.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BackupStorages: %w", err)
	}
	claims := map[string]bool{}
	for i := range list.Items {
		s := &list.Items[i]
		if local := s.Spec.Storage.Local; local != nil && local.PersistentVolumeClaim != nil && usesStorage(batch, s) {
			claims[local.PersistentVolumeClaim.ClaimName] = true
		}
	}
	return claims, nil
}

// usesStorage reports whether a batch names a BackupStorage of its namespace, or gets it as the default.
func usesStorage(batch *v1alpha1.BackupBatch, s *v1alpha1.BackupStorage) bool {
	if len(batch.Spec.Backends) == 0 {
		return s.Spec.Default
	}
	return slices.ContainsFunc(batch.Spec.Backends, func(b v1alpha1.BackendReference) bool {
		if b.StorageRef == nil {
			return s.Spec.Default
		}
		key := b.StorageRef.In(batch.Namespace)
		return key.Name == s.Name && key.Namespace == s.Namespace
	})
}

// Selecting returns the targets of a batch whose selectors can find objects of the kind.
func Selecting(batch *v1alpha1.BackupBatch, kind v1alpha1.TargetKind) []*v1alpha1.BatchTarget {
	var out []*v1alpha1.BatchTarget
	for i := range batch.Spec.Targets {
		t := &batch.Spec.Targets[i]
		if t.Selector == nil {
			continue
		}
		for _, k := range t.Selector.Kinds {
			if k == kind {
				out = append(out, t)
				break
			}
		}
	}
	return out
}

// Named returns the names of the workloads of a kind that a batch names, if it also backs up claims: they can mount
// these claims.
func Named(batch *v1alpha1.BackupBatch, kind v1alpha1.TargetKind) map[string]bool {
	claims, out := false, map[string]bool{}
	for i := range batch.Spec.Targets {
		t := &batch.Spec.Targets[i]
		switch {
		case t.Selector != nil:
			claims = claims || slices.Contains(t.Selector.Kinds, v1alpha1.KindPersistentVolumeClaim)
		case t.AppRef.Kind == string(v1alpha1.KindPersistentVolumeClaim):
			claims = true
		case kind.Group() != "" && t.AppRef.Kind == string(kind):
			out[t.AppRef.Name] = true
		}
	}
	if !claims {
		return nil
	}
	return out
}

// candidates returns the objects of a kind that are wanted.
func (r *Reader) candidates(
	ctx context.Context, cached, live client.Reader, batch *v1alpha1.BackupBatch, kind v1alpha1.TargetKind,
	wanted wanted,
) ([]policy.Candidate, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(GroupVersionKind(kind))
	if err := cached.List(ctx, list, client.InNamespace(batch.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	var found []*metav1.PartialObjectMetadata
	for i := range list.Items {
		o := &list.Items[i]
		if wanted(o) && o.DeletionTimestamp.IsZero() && o.Labels[v1alpha1.LabelCopy] == "" {
			found = append(found, o)
		}
	}
	if kind == v1alpha1.KindPersistentVolumeClaim {
		holdBackups, err := claimsOfStorages(ctx, cached, batch)
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(o *metav1.PartialObjectMetadata) bool { return holdBackups[o.Name] })
	}
	if kind.Group() == "" {
		return withoutPods(kind, found), nil
	}
	of, err := r.volumes(ctx, live, place{batch.Namespace, kind}, list.Items, found)
	if err != nil {
		return nil, err
	}
	out := make([]policy.Candidate, 0, len(found))
	for _, o := range found {
		if v, ok := of[o.UID]; ok { // Otherwise the workload is gone.
			out = append(out, policy.Candidate{Kind: kind, Name: o.Name, Labels: o.Labels, Volumes: &v.PodVolumes})
		}
	}
	return out, nil
}

// withoutPods returns candidates for objects that make no pods: claims and Services.
func withoutPods(kind v1alpha1.TargetKind, found []*metav1.PartialObjectMetadata) []policy.Candidate {
	out := make([]policy.Candidate, len(found))
	for i, o := range found {
		owner := metav1.GetControllerOf(o)
		out[i] = policy.Candidate{
			Kind: kind, Name: o.Name, Labels: o.Labels,
			OfPod: kind == v1alpha1.KindPersistentVolumeClaim && owner != nil && owner.Kind == "Pod",
		}
	}
	return out
}

// fewReads is the largest number of workloads that are read one by one.
const fewReads = 8

// volumes returns the volumes of the workloads in found. all holds every workload of the place: volumes of workloads
// outside it are forgotten.
func (r *Reader) volumes(
	ctx context.Context, live client.Reader, at place, all []metav1.PartialObjectMetadata,
	found []*metav1.PartialObjectMetadata,
) (map[types.UID]volumes, error) {
	out, missing := r.remembered(at, all, found)
	if len(missing) == 0 {
		return out, nil
	}
	read := map[types.UID]volumes{}
	if len(missing) > fewReads {
		list := newList(at.kind)
		if err := live.List(ctx, list, client.InNamespace(at.namespace)); err != nil {
			return nil, fmt.Errorf("list %ss: %w", at.kind, err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error { storeVolumes(read, o); return nil })
		if err != nil {
			return nil, fmt.Errorf("read the list of %ss: %w", at.kind, err)
		}
	} else {
		for _, o := range missing {
			workload := newObject(at.kind)
			if err := live.Get(ctx, client.ObjectKey{Namespace: at.namespace, Name: o.Name},
				workload); apierrors.IsNotFound(err) {
				continue
			} else if err != nil {
				return nil, fmt.Errorf("get %s %s: %w", at.kind, o.Name, err)
			}
			storeVolumes(read, workload)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range missing {
		if v, ok := read[o.UID]; ok {
			out[o.UID] = v
			r.known[at][o.UID] = v
		}
	}
	return out, nil
}

// remembered returns the known volumes of the workloads in found, and the workloads whose volumes are not known.
func (r *Reader) remembered(
	at place, all []metav1.PartialObjectMetadata, found []*metav1.PartialObjectMetadata,
) (map[types.UID]volumes, []*metav1.PartialObjectMetadata) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.known[at]
	kept := make(map[types.UID]volumes, len(before))
	for i := range all {
		if v, ok := before[all[i].UID]; ok {
			kept[all[i].UID] = v
		}
	}
	if r.known == nil {
		r.known = map[place]map[types.UID]volumes{}
	}
	r.known[at] = kept
	out := make(map[types.UID]volumes, len(found))
	var missing []*metav1.PartialObjectMetadata
	for _, o := range found {
		if v, ok := kept[o.UID]; ok && v.generation >= o.Generation {
			out[o.UID] = v
		} else {
			missing = append(missing, o)
		}
	}
	return out, missing
}

// storeVolumes stores the volumes of a workload in read.
func storeVolumes(read map[types.UID]volumes, workload runtime.Object) {
	if v := policy.VolumesOf(workload); v != nil {
		o := workload.(metav1.Object)
		read[o.GetUID()] = volumes{generation: o.GetGeneration(), PodVolumes: *v}
	}
}

// newObject returns an empty workload.
func newObject(kind v1alpha1.TargetKind) client.Object {
	switch kind {
	case v1alpha1.KindDeployment:
		return &appsv1.Deployment{}
	case v1alpha1.KindStatefulSet:
		return &appsv1.StatefulSet{}
	default:
		return &appsv1.DaemonSet{}
	}
}

// newList returns an empty list of workloads.
func newList(kind v1alpha1.TargetKind) client.ObjectList {
	switch kind {
	case v1alpha1.KindDeployment:
		return &appsv1.DeploymentList{}
	case v1alpha1.KindStatefulSet:
		return &appsv1.StatefulSetList{}
	default:
		return &appsv1.DaemonSetList{}
	}
}
