package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// plainRestore is a restore as the CRD of now leaves it.
func plainRestore() *v1alpha1.RestoreSession {
	return &v1alpha1.RestoreSession{Spec: v1alpha1.RestoreSessionSpec{
		Target:     &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"},
		DataSource: &v1alpha1.RestoreDataSource{Repository: "data", Snapshot: v1alpha1.LatestSnapshot},
		Confirm:    "uid-data",
	}}
}

// The stamps of restored targets hold these digests, and GitOps tools create the same RestoreSessions again after an
// upgrade. If a change of the code, of the API or of a default gives another digest, each of them overwrites what the
// application has written since. So do not edit the digests here: make Digests return the former ones, too.
func TestTheDigestsOfASpecNeverChange(t *testing.T) {
	NewWithT(t).Expect(restore.Digests(plainRestore())).To(Equal([]string{
		"sha256:e014839a64b7c612329a65c92099433ac0865f686c0e5ef51ecb3eb47f8e5745", // of this version
		"sha256:e014839a64b7c612329a65c92099433ac0865f686c0e5ef51ecb3eb47f8e5745", // of the whole spec
		"sha256:8fcaeb03187f316f9a93460c790eefa7cf1f9b57e6e2ef79c8359ba84aad7e12", // with the former default of 6h
	}))
}

func TestWhatDoesNotChangeTheDataDoesNotChangeTheDigest(t *testing.T) {
	type spec = v1alpha1.RestoreSessionSpec
	for name, tt := range map[string]struct {
		change func(*spec)
		other  bool
	}{
		"a timeout": {change: func(s *spec) { s.RestoreTimeout = &metav1.Duration{Duration: time.Hour} }},
		"retries":   {change: func(s *spec) { s.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 3} }},
		"another Secret": {
			change: func(s *spec) { s.DataSource.EncryptionSecret = &v1alpha1.ObjectReference{Name: "new"} },
		},
		"another Snapshot":     {change: func(s *spec) { s.DataSource.Snapshot = "other" }, other: true},
		"another confirmation": {change: func(s *spec) { s.Confirm = "uid-other" }, other: true},
		"a deletion":           {change: func(s *spec) { s.DeleteExtraFiles = true }, other: true},
		// Whoever asks for it wants to know more than that the restore ran.
		"a verification": {change: func(s *spec) { s.Verify = true }, other: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s, before := plainRestore(), restore.Digests(plainRestore())[0]
			tt.change(&s.Spec)
			asked := s.Spec.DeepCopy()
			digests := restore.Digests(s)
			g.Expect(digests[0] != before).To(Equal(tt.other))
			g.Expect(digests).To(ContainElement(policy.Digest(s.Spec)), "the stamp of the version before")
			g.Expect(&s.Spec).To(Equal(asked), "the restore itself stays as it is")
		})
	}
}

// The CRD of the first versions gave each restore the restoreTimeout 6h.
func TestARestoreWithTheFormerDefaultIsTheSameRestore(t *testing.T) {
	g := NewWithT(t)
	old := plainRestore()
	old.Spec.RestoreTimeout = &metav1.Duration{Duration: 6 * time.Hour}
	g.Expect(restore.Digests(plainRestore())).To(ContainElement(policy.Digest(old.Spec)))
	old.Spec.RestoreTimeout.Duration++
	g.Expect(restore.Digests(plainRestore())).NotTo(ContainElement(policy.Digest(old.Spec)))
}
