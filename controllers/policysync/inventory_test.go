package policysync

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/inventory"
)

// manyRefs returns as many objects as a PolicySync can have, with names as platforms make them.
func manyRefs(release string) []v1alpha1.ResourceRef {
	random := rand.New(rand.NewPCG(1, uint64(len(release))))
	out := make([]v1alpha1.ResourceRef, 20000)
	for i := range out {
		out[i] = v1alpha1.ResourceRef{ID: fmt.Sprintf(
			"customer-%05d-production_%s-postgresql-primary-backup-nightly-%08x_%s_BackupConfiguration", i/4, release,
			random.Uint32(), v1alpha1.Group), Version: "v1alpha1"}
	}
	slices.SortFunc(out, func(a, b v1alpha1.ResourceRef) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// The API server takes the inventory of a PolicySync of which all objects are renamed at once.
func TestTheLargestInventory(t *testing.T) {
	r := newRoom(t)
	old := manyRefs("blue")
	r.sync.Status.Inventory = &v1alpha1.ResourceInventory{Entries: old}
	r.g.Expect(r.Status().Update(t.Context(), r.sync)).
		To(MatchError(MatchRegexp("too large|larger than max")), "otherwise nobody needs to pack it")

	r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(r.sync), r.sync)).To(Succeed())
	for _, refs := range [][]v1alpha1.ResourceRef{old, union(manyRefs("green"), old)} {
		s := &reconciling{
			Reconciler: r.Reconciler, obj: r.sync, before: r.sync.DeepCopy(), patcher: r.writer().NewPatcher(r.sync),
		}
		r.g.Expect(s.readInventory()).To(BeNil())
		r.g.Expect(s.begin(t.Context(), "main@sha1:1", refs)).To(BeNil())
		r.g.Expect(r.Get(t.Context(), client.ObjectKeyFromObject(r.sync), r.sync)).To(Succeed())
		there, err := inventory.Entries(r.sync.Status.Inventory)
		r.g.Expect(err).NotTo(HaveOccurred())
		r.g.Expect(slices.Equal(there, refs)).To(BeTrue(), "%d of %d", len(there), len(refs))
	}
}

// What does not fit is refused before anything is applied.
func TestAnInventoryThatDoesNotFit(t *testing.T) {
	r := newRoom(t)
	random, refs := rand.New(rand.NewPCG(1, 2)), make([]v1alpha1.ResourceRef, 12000)
	for i := range refs {
		name := make([]byte, 250)
		for j := range name {
			name[j] = byte('a' + random.IntN(26))
		}
		refs[i] = v1alpha1.ResourceRef{
			ID: r.namespace + "_" + string(name) + "_backup.cairn.dev_BackupStorage", Version: "v1alpha1",
		}
	}
	slices.SortFunc(refs, func(a, b v1alpha1.ResourceRef) int { return cmp.Compare(a.ID, b.ID) })
	r.push(both)
	r.reconcile()
	s := &reconciling{
		Reconciler: r.Reconciler, obj: r.sync, before: r.sync.DeepCopy(), patcher: r.writer().NewPatcher(r.sync),
	}
	r.g.Expect(s.readInventory()).To(BeNil())
	writes := r.api.writes()
	fault := s.begin(t.Context(), "main@sha1:1", refs)
	r.g.Expect(fault).NotTo(BeNil())
	r.g.Expect(fault.reason).To(Equal(v1alpha1.ReasonInventoryTooLarge))
	r.g.Expect(fault.message).To(And(ContainSubstring("12000 objects take"), ContainSubstring("nothing was applied")))
	r.g.Expect(r.api.writes()).To(Equal(writes))
	r.g.Expect(s.obj.Status.Inventory.Entries).To(HaveLen(2), "the inventory stays")
}

// More objects than an inventory lists as entries are applied, renamed and pruned on a real API server.
func TestAPackedInventoryIsPruned(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.Timeout = &metav1.Duration{Duration: time.Hour} })
	files := func(prefix string, n int) map[string]string {
		var all strings.Builder
		for i := range n {
			all.WriteString(storage(fmt.Sprintf("%s-%d", prefix, i)) + "---\n")
		}
		return map[string]string{"policy/s.yaml": all.String()}
	}
	revision := r.push(files("blue", 1100))
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.Inventory.Count).To(BeEquivalentTo(1100))
	revision = r.push(files("blue", 1001))
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.Inventory.Count).To(BeEquivalentTo(1001))
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "blue-1050")).To(BeFalse())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "blue-1000")).To(BeTrue())
	revision = r.push(files("blue", 5))
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(5))
	r.g.Expect(r.sync.Status.Inventory.Packed).To(BeEmpty())
}

// An inventory that can't be read is not empty.
func TestADamagedInventoryStopsThePass(t *testing.T) {
	r := newRoom(t)
	r.push(both)
	r.reconcile()
	r.sync.Status.Inventory = &v1alpha1.ResourceInventory{
		Entries: []v1alpha1.ResourceRef{}, Packed: []byte("x"), Count: 2,
	}
	r.g.Expect(r.Status().Update(t.Context(), r.sync)).To(Succeed())
	r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "status.inventory.packed")
	r.g.Expect(r.there()).To(Equal("ab"))
	r.g.Expect(r.sync.Status.Inventory.Packed).To(Equal([]byte("x")))
}

// What was applied while the PolicySync did not prune goes when it prunes.
func TestWithoutPruneNothingIsForgotten(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.Prune = false })
	r.push(all)
	r.reconcile()
	revision := r.push(map[string]string{"policy/a.yaml": storage("a")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.there()).To(Equal("abc"))
	writes := r.api.writes()
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.api.writes()).To(Equal(writes), "nothing is new")
	r.update(func(p *v1alpha1.PolicySync) { p.Spec.Prune = true })
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.there()).To(Equal("a"))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(1))
}

// A webhook that does not let one object go holds up no other of its class.
func TestAnObjectThatCannotBeDeletedHoldsUpNoOther(t *testing.T) {
	r := newRoom(t)
	files := map[string]string{"policy/stays.yaml": storage("stays")}
	for i := range 20 {
		files[fmt.Sprintf("policy/%d.yaml", i)] = storage(fmt.Sprintf("s%d", i))
	}
	r.push(files)
	r.reconcile()
	r.push(map[string]string{"policy/stays.yaml": storage("stays")})
	r.api.refuse = func(req *http.Request) bool {
		return req.Method == http.MethodDelete && strings.HasSuffix(req.URL.Path, "/s0")
	}
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonPruneFailed, "s0")
	for i := range 20 {
		r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, fmt.Sprintf("s%d", i))).To(Equal(i == 0), "s%d", i)
	}
}
