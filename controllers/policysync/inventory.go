package policysync

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/object"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/inventory"
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

// self returns an entry for the PolicySync.
func (s *reconciling) self() v1alpha1.ResourceRef {
	id := object.ObjMetadata{
		Namespace: s.obj.Namespace, Name: s.obj.Name,
		GroupKind: schema.GroupKind{Group: v1alpha1.Group, Kind: v1alpha1.PolicySyncKind},
	}
	return v1alpha1.ResourceRef{ID: id.String(), Version: v1alpha1.GroupVersion.Version}
}

// union returns the sorted union. If both have an object, the entry of a wins.
func union(a, b []v1alpha1.ResourceRef) []v1alpha1.ResourceRef {
	out := slices.Concat(a, b)
	slices.SortStableFunc(out, func(x, y v1alpha1.ResourceRef) int { return cmp.Compare(x.ID, y.ID) })
	return slices.CompactFunc(out, func(x, y v1alpha1.ResourceRef) bool { return x.ID == y.ID })
}

// setInventory writes the entries to the status. It changes nothing if they are there already: another version of Go
// packs them in another way.
func (s *reconciling) setInventory(refs []v1alpha1.ResourceRef) *fault {
	if have := s.obj.Status.Inventory; have != nil && slices.Equal(s.inventory, refs) {
		return nil
	}
	packed, err := inventory.Pack(refs)
	if err != nil {
		return &fault{
			reason: v1alpha1.ReasonInventoryTooLarge, stalled: true, early: true,
			message: err.Error() + " with those that are to be removed: nothing was applied. Spread the policy over " +
				"several PolicySyncs, rename fewer objects at once, or shorten their names",
		}
	}
	s.obj.Status.Inventory, s.inventory = packed, refs
	return nil
}

// readInventory reads the inventory of the status. What can't be read is not empty: the fault says so.
func (s *reconciling) readInventory() *fault {
	entries, err := inventory.Entries(s.obj.Status.Inventory)
	if err != nil {
		return &fault{
			reason: v1alpha1.ReasonReconcileFailed,
			message: err.Error() + ": nothing was applied or deleted. Restore it, or remove status.inventory: then " +
				"what the repository no longer contains stays in the cluster",
		}
	}
	s.inventory = entries
	return nil
}

// stale returns the entries of the inventory that are no longer wanted.
func (s *reconciling) stale(wanted []v1alpha1.ResourceRef) []v1alpha1.ResourceRef {
	keep := map[string]bool{}
	for _, ref := range wanted {
		keep[ref.ID] = true
	}
	var out []v1alpha1.ResourceRef
	for _, ref := range s.inventory {
		if !keep[ref.ID] {
			out = append(out, ref)
		}
	}
	return out
}

func ofClass(refs []v1alpha1.ResourceRef, class int) (out []v1alpha1.ResourceRef) {
	for _, ref := range refs {
		if _, gvk, err := kindOf(ref); err == nil && classOf(gvk.Kind) == class {
			out = append(out, ref)
		}
	}
	return out
}

// digestOf identifies a removal set. It does not depend on the order of refs.
func digestOf(refs []v1alpha1.ResourceRef) string {
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = ref.ID
	}
	slices.Sort(ids)
	return digest(strings.Join(ids, "\n"))
}

// digest returns the digest of a text, as a consent names it.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
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
