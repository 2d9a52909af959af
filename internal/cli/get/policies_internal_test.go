package get

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
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

// A policy that is Ready can back up less than somebody expects, or leave Repositories behind.
func TestAReadyPolicyHasItsWarnings(t *testing.T) {
	g := NewWithT(t)
	b, c := &v1alpha1.BackupBatch{}, &v1alpha1.BackupConfiguration{}
	conditions.MarkTrue(b, meta.ReadyCondition, v1alpha1.ReasonReady, "every target that exists can be backed up")
	conditions.MarkTrue(b, v1alpha1.ConditionSelectorFindsNothing, v1alpha1.ReasonSelectorFindsNothing, "all")
	conditions.MarkTrue(b, v1alpha1.ConditionTargetsOverlap, v1alpha1.ReasonBackedUpTwice, "twice")
	conditions.MarkTrue(b, v1alpha1.ConditionRepositoriesRetained, v1alpha1.ReasonTargetLeft, "of the batch")
	conditions.MarkTrue(c, v1alpha1.ConditionRepositoriesRetained, v1alpha1.ReasonRepositoryLeft, "of the other")
	conditions.MarkTrue(c, v1alpha1.ConditionVolumeSnapshotsAtRisk, v1alpha1.ReasonVolumeSnapshotClassDeletes, "risk")
	table, out := &command.Table{Header: make([]string, 8)}, &strings.Builder{}
	batchRows(table, scope{now: time.Now()}, b, nil)
	configurationRow(table, scope{now: time.Now()}, c)
	g.Expect(table.Write(out, 200)).To(Succeed())
	for _, note := range []string{
		"SelectorFindsNothing: all", "TargetsOverlap: twice", "RepositoriesRetained: of the batch",
		"RepositoriesRetained: of the other", "VolumeSnapshotsAtRisk: risk",
	} {
		g.Expect(out.String()).To(ContainSubstring(note))
	}
	g.Expect(out.String()).NotTo(ContainSubstring("every target"))
}

// What the guard holds back is said once: by the condition Ready, alone or with more, or by its own condition.
func TestABlockedDeletionIsSaidOnce(t *testing.T) {
	for _, ready := range []string{
		"3 objects were not deleted", "3 objects were not deleted; s3 is being deleted", "the server does not answer",
	} {
		t.Run(ready, func(t *testing.T) {
			g := NewWithT(t)
			p := v1alpha1.PolicySync{}
			conditions.MarkFalse(&p, meta.ReadyCondition, v1alpha1.ReasonDeletionBlocked, "%s", ready)
			conditions.MarkTrue(&p, v1alpha1.ConditionDeletionBlocked, v1alpha1.ReasonDeletionBlocked,
				"3 objects were not deleted")
			out := &strings.Builder{}
			g.Expect(syncTable(scope{now: time.Now()}, []v1alpha1.PolicySync{p}).Write(out, 200)).To(Succeed())
			g.Expect(out.String()).To(ContainSubstring(ready))
			g.Expect(strings.Count(out.String(), "3 objects were not deleted")).To(Equal(1), out.String())
		})
	}
}
