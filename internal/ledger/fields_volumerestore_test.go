package ledger

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The record of a restore from VolumeSnapshots says which claims were made of what, and which claims were deleted for
// them.
func TestRecordsOfVolumesThatWereMade(t *testing.T) {
	g := NewWithT(t)
	s := restore()
	s.Spec.Target, s.Spec.DataSource = nil, nil
	s.Spec.Addon = &v1alpha1.AddonInfo{
		Name: "pvc-addon",
		Tasks: []v1alpha1.TaskReference{{Name: "volume-snapshot-restore", TargetVolumes: &v1alpha1.TargetVolumes{
			Replicas: new(int32(2)),
			VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{{
				Metadata: v1alpha1.ClaimMetadata{Name: "data-${POD_ORDINAL}"},
				Spec: corev1.PersistentVolumeClaimSpec{
					DataSource: &corev1.TypedLocalObjectReference{
						APIGroup: new("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot",
						Name: "data-${POD_ORDINAL}-9",
					},
				},
			}},
		}}},
	}
	s.Status.Components = map[string]v1alpha1.RestoredComponent{
		"data-0": {Phase: v1alpha1.RestoreSessionSucceeded, ClaimUID: "claim-uid", ID: "shot-uid"},
	}
	s.Status.Resolved.Snapshot, s.Status.Resolved.Repository = "", v1alpha1.ResolvedRepository{}
	s.Status.Resolved.Hosts = []v1alpha1.ResolvedRestoreHost{{Name: "pod-0", Volumes: []v1alpha1.ResolvedRestoreVolume{{
		Component: "data-0", ID: "shot-uid", ClaimName: "data-0", Template: 1, Provision: &v1alpha1.ResolvedProvision{
			VolumeSnapshot: "data-0-9", StorageClassName: new("fast"), Storage: resource.MustParse("2Gi"),
			Binding: v1alpha1.BindConsumer, Replaces: "old-uid",
		},
	}}}}
	record, err := one(RestoreRecord("production", s))
	g.Expect(err).NotTo(HaveOccurred())
	for _, says := range []string{
		"replicas: 2", "name: data-${POD_ORDINAL}-9", "claimUID: claim-uid",
		"volumeSnapshot: data-0-9", "storage: 2Gi", "binding: Consumer", "replaces: old-uid",
	} {
		g.Expect(record.Content).To(ContainSubstring(says))
	}
}
