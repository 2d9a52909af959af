package get

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/inventory"
)

// A packed inventory is printed as entries, one of an earlier version as it is.
func TestInventoriesAreReadable(t *testing.T) {
	for _, n := range []int{2, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := NewWithT(t)
			entries := make([]v1alpha1.ResourceRef, n)
			for i := range entries {
				entries[i] = v1alpha1.ResourceRef{ID: fmt.Sprintf("shop_s%05d_g_K", i), Version: "v1"}
			}
			packed, err := inventory.Pack(entries)
			g.Expect(err).NotTo(HaveOccurred())
			p := &v1alpha1.PolicySync{Status: v1alpha1.PolicySyncStatus{Inventory: packed}}
			unpack(p)
			g.Expect(p.Status.Inventory).To(Equal(&v1alpha1.ResourceInventory{Entries: entries}))
		})
	}
	p := &v1alpha1.PolicySync{}
	unpack(p)
	NewWithT(t).Expect(p.Status.Inventory).To(BeNil())
}
