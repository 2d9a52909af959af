package policysync

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
)

func inventoryOf(objects []build.Object) []v1alpha1.ResourceRef {
	out := make([]v1alpha1.ResourceRef, len(objects))
	for i, o := range objects {
		out[i] = v1alpha1.ResourceRef{
			ID:      object.UnstructuredToObjMetadata(o.Unstructured).String(),
			Version: o.Unstructured.GroupVersionKind().Version,
		}
	}
	return union(out, nil)
}

// union returns the sorted union. If both have an object, the entry of a wins.
func union(a, b []v1alpha1.ResourceRef) []v1alpha1.ResourceRef {
	out := slices.Concat(a, b)
	slices.SortStableFunc(out, func(x, y v1alpha1.ResourceRef) int { return cmp.Compare(x.ID, y.ID) })
	return slices.CompactFunc(out, func(x, y v1alpha1.ResourceRef) bool { return x.ID == y.ID })
}

// setInventory never leaves out the entries: the API server requires a list, even an empty one.
func (s *reconciling) setInventory(refs []v1alpha1.ResourceRef) {
	s.obj.Status.Inventory = &v1alpha1.ResourceInventory{Entries: append([]v1alpha1.ResourceRef{}, refs...)}
}

func sameInventory(have *v1alpha1.ResourceInventory, want []v1alpha1.ResourceRef) bool {
	return have != nil && slices.Equal(have.Entries, want)
}

// stale returns the entries of the inventory that are no longer wanted. It returns none if the PolicySync does not
// prune.
func (s *reconciling) stale(wanted []v1alpha1.ResourceRef) []v1alpha1.ResourceRef {
	if s.obj.Status.Inventory == nil || !s.obj.Spec.Prune {
		return nil
	}
	keep := map[string]bool{}
	for _, ref := range wanted {
		keep[ref.ID] = true
	}
	var out []v1alpha1.ResourceRef
	for _, ref := range s.obj.Status.Inventory.Entries {
		if !keep[ref.ID] {
			out = append(out, ref)
		}
	}
	return out
}

// guard decides whether a removal needs a consent: if it removes everything, or if no object that stays exists yet. The
// inventory alone can't tell, because it also holds what a refused revision was going to apply. Once a consent is
// needed, it stays needed for every removal until it is given or nothing is left to remove: a revert can be partial,
// and the revision whose removals were held back can come again.
func (s *reconciling) guard(stale []v1alpha1.ResourceRef, live liveObjects) {
	status := &s.obj.Status
	everything := len(stale) > 0 && (len(stale) == len(status.Inventory.Entries) || !s.ownsAny(live))
	digest := digestOf(stale)
	if len(stale) == 0 || !everything && status.Removal == nil ||
		s.obj.Annotations[v1alpha1.AnnotationAllowDelete] == digest {
		status.Removal = nil
		conditions.Delete(s.obj, v1alpha1.ConditionDeletionBlocked)
		return
	}
	status.Removal = &v1alpha1.BlockedRemoval{Digest: digest, Count: int32(len(stale))}
	for _, ref := range stale[:min(len(stale), 20)] {
		status.Removal.Objects = append(status.Removal.Objects, describe(ref))
	}
}

// ownsAny reports whether this PolicySync applied any of the objects.
func (s *reconciling) ownsAny(live liveObjects) bool {
	for _, u := range live {
		if s.owns(u) {
			return true
		}
	}
	return false
}

func (s *reconciling) owns(u *unstructured.Unstructured) bool {
	labels := u.GetLabels()
	return labels[v1alpha1.LabelSyncName] == s.obj.Name && labels[v1alpha1.LabelSyncNamespace] == s.obj.Namespace
}

// blocked returns a fault that names what the guard holds back and how to consent.
func (s *reconciling) blocked() *fault {
	removal := s.obj.Status.Removal
	first := removal.Objects[:min(len(removal.Objects), 3)]
	rest := ""
	if int(removal.Count) > len(first) {
		rest = " and others"
	}
	message := fmt.Sprintf("revision %s is applied, but %s%s were not deleted: this or an earlier revision "+
		"removes everything that was applied before, and since then Cairn deletes only what you confirm. To delete "+
		"them, run: kubectl annotate policysync -n %s %s --overwrite %s=%s",
		s.obj.Status.LastAppliedRevision, strings.Join(first, ", "), rest, s.obj.Namespace, s.obj.Name,
		v1alpha1.AnnotationAllowDelete, removal.Digest)
	conditions.Set(s.obj, &metav1.Condition{
		Type: v1alpha1.ConditionDeletionBlocked, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonDeletionBlocked, Message: message,
	})
	return &fault{reason: v1alpha1.ReasonDeletionBlocked, message: message, stalled: true}
}

// digestOf identifies a removal set. It does not depend on the order of refs.
func digestOf(refs []v1alpha1.ResourceRef) string {
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = ref.ID
	}
	slices.Sort(ids)
	sum := sha256.Sum256([]byte(strings.Join(ids, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// describe returns "<kind>/<namespace>/<name>", or "<kind>/<name>" for a cluster-wide object.
func describe(ref v1alpha1.ResourceRef) string {
	id, err := object.ParseObjMetadata(ref.ID)
	if err != nil {
		return ref.ID
	}
	if id.Namespace == "" {
		return id.GroupKind.Kind + "/" + id.Name
	}
	return id.GroupKind.Kind + "/" + id.Namespace + "/" + id.Name
}

func kindOf(ref v1alpha1.ResourceRef) (object.ObjMetadata, schema.GroupVersionKind, error) {
	id, err := object.ParseObjMetadata(ref.ID)
	return id, id.GroupKind.WithVersion(ref.Version), err
}
