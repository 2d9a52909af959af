package access_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
)

// TestASecretOfSomebodyElseIsNotOverwritten gives a Secret of an application the name of a copy. Whoever may create
// BackupSessions chooses that name.
func TestASecretOfSomebodyElseIsNotOverwritten(t *testing.T) {
	controller := true
	by := func(uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{
			APIVersion: "backup.cairn.dev/v1alpha1", Kind: v1alpha1.BackupSessionKind, Name: "another", UID: uid,
			Controller: &controller,
		}}
	}
	for name, tc := range map[string]struct {
		labels map[string]string
		owners []metav1.OwnerReference
	}{
		"without a mark":                {},
		"of another tool":               {labels: map[string]string{v1alpha1.LabelManagedBy: "Helm"}},
		"with the label of Cairn alone": {labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}},
		"of another run": {
			labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}, owners: by("u"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ns, home := namespace(t), namespace(t)
			storage := s3(t, home, everybody())
			secret(t, ns, "enc", map[string]string{"password": "p"})
			theirs := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: ns, Name: "job-storage", Labels: tc.labels, OwnerReferences: tc.owners,
				},
				StringData: map[string]string{v1alpha1.S3AccessKeyID: "theirs", "url": "db.example.com"},
			}
			g.Expect(bed.Client.Create(t.Context(), theirs)).To(Succeed())
			_, err := access.EnsureCredentials(t.Context(), bed.Client, owner(t, ns), ns, storage,
				v1alpha1.ObjectReference{Name: "enc"}, "job")
			reason, message, _ := access.ReasonOf(err)
			has := &corev1.Secret{}
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(theirs), has)).To(Succeed())
			g.Expect(has.ResourceVersion).To(Equal(theirs.ResourceVersion), "it is as it was: %v", has.Labels)
			g.Expect(reason).To(Equal(v1alpha1.ReasonNameConflict))
			g.Expect(message).To(And(ContainSubstring(ns+"/job-storage"), ContainSubstring("delete it")))
		})
	}
}

// A run that was deleted and made again has the name of its copies, too.
func TestTheCopyOfAnEarlierOwnerIsReplaced(t *testing.T) {
	g := NewWithT(t)
	ns, home := namespace(t), namespace(t)
	storage := s3(t, home, everybody())
	secret(t, ns, "enc", map[string]string{"password": "p"})
	run := owner(t, ns)
	ensure := func() {
		t.Helper()
		_, err := access.EnsureCredentials(t.Context(), bed.Client, run, ns, storage,
			v1alpha1.ObjectReference{Name: "enc"}, "job")
		g.Expect(err).NotTo(HaveOccurred())
	}
	copied := func() *corev1.Secret {
		s := &corev1.Secret{}
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "job-storage"}, s)).To(Succeed())
		g.Expect(metav1.IsControlledBy(s, run)).To(BeTrue())
		return s
	}
	ensure()
	first := copied()
	g.Expect(bed.Client.Delete(t.Context(), run)).To(Succeed())
	run = owner(t, ns)
	ensure()
	second := copied()
	g.Expect(second.UID).NotTo(Equal(first.UID))

	key := &corev1.Secret{}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: home, Name: "key"}, key)).To(Succeed())
	key.Data[v1alpha1.S3AccessKeyID] = []byte("new")
	g.Expect(bed.Client.Update(t.Context(), key)).To(Succeed())
	ensure()
	third := copied()
	g.Expect(third.UID).To(Equal(second.UID))
	g.Expect(third.Data).To(HaveKeyWithValue(v1alpha1.S3AccessKeyID, []byte("new")), "the copy follows")
	ensure()
	g.Expect(copied().ResourceVersion).To(Equal(third.ResourceVersion), "nothing is written without a change")
}
