package policy_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

func TestOverlaps(t *testing.T) {
	kinds := func(k ...v1alpha1.TargetKind) v1alpha1.TargetSelector { return v1alpha1.TargetSelector{Kinds: k} }
	addon := &v1alpha1.AddonInfo{Name: "workload-addon"}
	const each = ". Each backup has its own Repositories, params and hooks: exclude the object from one of the targets"
	many := []policy.Candidate{}
	for i := range 7 {
		many = append(many, policytest.Candidate(claim, fmt.Sprintf("data-%d", i), ""))
	}
	for name, tt := range map[string]struct {
		batch      func() *v1alpha1.BackupBatch
		candidates []policy.Candidate
		want       []string // for the session hourly
	}{
		"nothing": {
			batch: func() *v1alpha1.BackupBatch {
				return policytest.Selecting(policytest.BatchOf("web"), "all", kinds(claim))
			},
			candidates: []policy.Candidate{policytest.Candidate(claim, "web", "")},
		},
		"a named target and a selector": {
			batch: func() *v1alpha1.BackupBatch {
				return policytest.Selecting(policytest.BatchOf("web"), "all", kinds(deployment))
			},
			candidates: []policy.Candidate{
				policytest.Candidate(deployment, "web", ""), policytest.Candidate(deployment, "shop", ""),
			},
			want: []string{
				"session \"hourly\" backs up Deployment/web twice: for target web and for target all" + each,
			},
		},
		"two selectors": {
			batch: func() *v1alpha1.BackupBatch {
				return policytest.Selecting(policytest.Selecting(policytest.BatchOf(), "all", kinds(claim)), "some",
					v1alpha1.TargetSelector{
						Kinds: []v1alpha1.TargetKind{claim}, LabelSelector: policytest.Labelled("shop"),
					})
			},
			candidates: []policy.Candidate{
				policytest.Candidate(claim, "b", "shop"), policytest.Candidate(claim, "a", "shop"),
				policytest.Candidate(claim, "c", "bank"),
			},
			want: []string{
				"session \"hourly\" backs up PersistentVolumeClaim/a, PersistentVolumeClaim/b twice: for target all " +
					"and for target some" + each,
			},
		},
		"very many objects": {
			batch: func() *v1alpha1.BackupBatch {
				return policytest.Selecting(policytest.Selecting(policytest.BatchOf(), "all", kinds(claim)), "again",
					kinds(claim))
			},
			candidates: many,
			want: []string{
				"session \"hourly\" backs up PersistentVolumeClaim/data-0, PersistentVolumeClaim/data-1, " +
					"PersistentVolumeClaim/data-2, " +
					"PersistentVolumeClaim/data-3, PersistentVolumeClaim/data-4 and 2 more twice: for target all and " +
					"for target again" + each,
			},
		},
		"two targets that name the object on purpose": {
			batch: func() *v1alpha1.BackupBatch {
				batch := policytest.BatchOf("orders", "users")
				for i := range batch.Spec.Targets {
					batch.Spec.Targets[i].AppRef = v1alpha1.TypedObjectReference{Kind: "Service", Name: "postgres"}
				}
				return batch
			},
		},
		"in different sessions": {
			batch: func() *v1alpha1.BackupBatch {
				// web is only in the session hourly.
				batch := policytest.Selecting(policytest.BatchOf("shop", "web"), "all", kinds(deployment))
				batch.Spec.Sessions[0].Targets = batch.Spec.Sessions[0].Targets[:2]
				return batch
			},
			candidates: []policy.Candidate{policytest.Candidate(deployment, "web", "")},
		},
		"a claim that a workload of another target mounts": {
			batch: func() *v1alpha1.BackupBatch {
				return policytest.Selecting(policytest.Selecting(policytest.BatchOf(), "apps", kinds(deployment)),
					"volumes", kinds(claim))
			},
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "web", ""), "pages", "logs"),
				policytest.Candidate(claim, "logs", ""),
				policytest.Candidate(claim, "pages", ""), policytest.Candidate(claim, "alone", ""),
			},
			want: []string{
				"session \"hourly\" backs up PersistentVolumeClaim/logs, PersistentVolumeClaim/pages twice: for " +
					"target volumes, and with the workload that mounts it for target apps" + each,
			},
		},
		"a claim that a workload of the same target mounts": {
			batch: func() *v1alpha1.BackupBatch {
				return policytest.Selecting(policytest.BatchOf(), "all", kinds(deployment, claim))
			},
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "web", ""), "pages"),
				policytest.Candidate(claim, "pages", ""),
			},
		},
		"a workload with an explicit Addon, whose volumes are unknown": {
			batch: func() *v1alpha1.BackupBatch {
				batch := policytest.Selecting(policytest.Selecting(policytest.BatchOf(), "apps", kinds(deployment)),
					"volumes", kinds(claim))
				batch.Spec.Sessions[0].Targets[0].Addon = addon
				return batch
			},
			candidates: []policy.Candidate{
				policytest.Mounting(policytest.Candidate(deployment, "web", ""), "pages"),
				policytest.Candidate(claim, "pages", ""),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := tt.batch()
			children, err := policy.Expand(batch, policy.FindAmong(batch, tt.candidates))
			g.Expect(err).NotTo(HaveOccurred())
			targets := policy.Targets(batch, policy.FindAmong(batch, tt.candidates))
			g.Expect(children).To(HaveLen(len(targets)), "each object is a target all the same")
			var got []string
			for _, m := range policy.Overlaps(batch, targets, tt.candidates) {
				g.Expect(m.Reason).To(Equal(v1alpha1.ReasonBackedUpTwice))
				if m.Field == "spec.sessions[0].targets" {
					got = append(got, m.Message)
				}
			}
			g.Expect(got).To(Equal(tt.want))
		})
	}
}
