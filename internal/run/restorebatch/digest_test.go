package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// plainBatch is a RestoreBatch as the CRD of now leaves it.
func plainBatch() *v1alpha1.RestoreBatch {
	b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "back", UID: "1"}}
	b.Spec = v1alpha1.RestoreBatchSpec{
		DataSource: v1alpha1.RestoreBatchDataSource{
			BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
		},
		Targets:        []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db", Confirm: "uid-db"}},
		ExecutionOrder: v1alpha1.ExecutionParallel,
	}
	return b
}

// See TestTheDigestsOfASpecNeverChange of package restore: another digest makes each RestoreBatch that a GitOps tool
// creates again overwrite its targets. Do not edit the digests here: make SpecDigests return the former ones, too.
func TestTheDigestsOfABatchNeverChange(t *testing.T) {
	g := NewWithT(t)
	g.Expect(SpecDigests(plainBatch())).To(Equal([]string{
		"sha256:88df93b517b73cdc078399682f42fa71bfb4cf542d2628948e9731ff5125cfb3", // of this version
		"sha256:00a3babe84a4b134c8c6cf58917c227debb1ad617175e47655432c5f515228cd", // of the whole spec
		"sha256:c0042b48c52df0313aca99cc1cec0353bcdf363955c7e55603c9a29a677587b6", // with the former default of 6h
	}))
	g.Expect(TargetDigest("sha256:1", "web")).
		To(Equal("sha256:8c9faebf095a6f3af56cc612a671adec368a077d04c713355e67323c27e6105e"))
	g.Expect(confirmationDigest(plainBatch(), 1)).
		To(Equal("sha256:255e60f372ff917fc9b1d07ab7739b49571d7bb8cff1dcb8d811afd103341bff"))
}

func TestWhatDoesNotChangeTheDataDoesNotChangeTheDigestOfABatch(t *testing.T) {
	g := NewWithT(t)
	b := plainBatch()
	b.Spec.RestoreTimeout = &metav1.Duration{Duration: time.Hour}
	b.Spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 1}
	b.Spec.ExecutionOrder, b.Spec.MaxParallel = v1alpha1.ExecutionSequential, new(int32(1))
	b.Spec.DataSource.EncryptionSecret = &v1alpha1.ObjectReference{Name: "new"}
	b.Spec.Targets[0].RestoreTimeout, b.Spec.Targets[0].RetryConfig = b.Spec.RestoreTimeout, b.Spec.RetryConfig
	b.Spec.Targets[1].EncryptionSecret = b.Spec.DataSource.EncryptionSecret
	spec := b.Spec.DeepCopy()
	digests := SpecDigests(b)
	g.Expect(digests[0]).To(Equal(SpecDigests(plainBatch())[0]))
	g.Expect(digests[1:]).To(Equal([]string{policy.Digest(b.Spec)}), "the stamp of the version before")
	g.Expect(&b.Spec).To(Equal(spec), "the RestoreBatch itself stays as it is")
	b.Spec.Targets[1].Confirm = "uid-other"
	g.Expect(SpecDigests(b)[0]).NotTo(Equal(digests[0]))
}

// A target that the RestoreSession of an earlier version filled is not filled again.
func TestAChildKnowsTheStampsOfEarlierVersions(t *testing.T) {
	g := NewWithT(t)
	b := plainBatch()
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{
		SpecDigest: SpecDigests(b)[0],
		Targets:    []v1alpha1.ResolvedRestoreTarget{{Name: "web", RestoreSession: "back-web"}},
	}
	g.Expect(restore.Digests(NewRestoreSession(b, 0, time.Unix(0, 0)))).To(Equal(TargetDigests(SpecDigests(b), "web")))
	g.Expect(TargetDigests(SpecDigests(b), "web")).To(ContainElement(TargetDigest(policy.Digest(b.Spec), "web")))
}

// A RestoreBatch knows whether the RestoreSession of a target will be refused.
func TestABatchAndItsChildrenKnowTheSameConfirmations(t *testing.T) {
	g := NewWithT(t)
	b := plainBatch()
	b.Spec.Targets[1].RestoreTimeout = &metav1.Duration{Duration: time.Hour}
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{
		SpecDigest: SpecDigests(b)[0],
		Targets: []v1alpha1.ResolvedRestoreTarget{
			{Name: "web", RestoreSession: "back-web"},
			{Name: "db", RestoreSession: "back-db", Target: &v1alpha1.TypedObjectReference{Name: "db"}},
		},
	}
	child := restore.ConfirmationOf(NewRestoreSession(b, 1, time.Unix(0, 0)))
	g.Expect(child).To(Equal(Confirmation(b, 1, TargetDigests(SpecDigests(b), "db"))))
	g.Expect(child.Digest).To(Equal(confirmationDigest(plainBatch(), 1)), "it counts once, however long it has")
	b.Spec.Targets[0].Confirm = "uid-web"
	g.Expect(confirmationDigest(b, 1)).To(Equal(child.Digest), "a word for web is no word for db")
	b.Spec.Targets[1].Confirm += "/2"
	g.Expect(confirmationDigest(b, 1)).NotTo(Equal(child.Digest))
}
