package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

func TestAnotherNamespacesSnapshotNeedsBothSidesConsent(t *testing.T) {
	t.Parallel()
	ours := func(_ *world, s *v1alpha1.RestoreSession) {
		s.Spec.DataSource.EncryptionSecret = &v1alpha1.ObjectReference{Name: "ours"}
	}
	consented := func(w *world, to string) { w.consent("uploads", to) }
	for name, tt := range map[string]struct {
		change func(w, source *world)
		edit   func(w *world, s *v1alpha1.RestoreSession)
		want   string
	}{
		"without the Repository's": {edit: ours, want: "Failed/RestoreNotAllowed"},
		"of a missing Repository": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) { s.Spec.DataSource.Repository = "nothing" },
			want: "Failed/RestoreNotAllowed",
		},
		"of a missing Snapshot": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) {
				s.Spec.DataSource.Repository, s.Spec.DataSource.Snapshot = "", "nothing"
			}, want: "Failed/RestoreNotAllowed",
		},
		"with that of another namespace": {
			change: func(w, source *world) { consented(source, w.Namespace+"-2, other") }, edit: ours,
			want: "Failed/RestoreNotAllowed",
		},
		"with the Repository's": {
			change: func(w, source *world) { consented(source, "other, "+w.Namespace) }, edit: ours,
			want: "Succeeded/Succeeded",
		},
		"with one for all": {
			change: func(_, source *world) { consented(source, "*") }, edit: ours, want: "Succeeded/Succeeded",
		},
		"of one Snapshot by name": {
			change: func(w, source *world) { consented(source, w.Namespace) },
			edit: func(w *world, s *v1alpha1.RestoreSession) {
				ours(w, s)
				s.Spec.DataSource.Repository, s.Spec.DataSource.Snapshot = "", "first"
			}, want: "Succeeded/Succeeded",
		},
		"without the storage's": {
			change: func(w, source *world) {
				consented(source, w.Namespace)
				storage := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
					Namespace: source.Storage,
					Name:      sessiontest.StorageName,
				}}
				bed.Edit(w.T, storage, func() { storage.Spec.UsagePolicy = nil })
			}, edit: ours, want: "Failed/StorageNotAllowed",
		},
		"without a password of its own": {
			change: func(w, source *world) { consented(source, w.Namespace) },
			edit:   func(*world, *v1alpha1.RestoreSession) {}, want: "Failed/EncryptionSecretNotAvailable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, source := newWorld(t), newWorld(t)
			sessiontest.Create(t, w.Client, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "ours"},
				Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("secret")},
			})
			if tt.change != nil {
				tt.change(w, source)
			}
			w.restore("restore", func(s *v1alpha1.RestoreSession) {
				s.Spec.DataSource.Namespace = source.Namespace
				tt.edit(w, s)
			})
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(tt.want), "%v", s.Status.Conditions)
			if s.Status.Phase != v1alpha1.RestoreSessionSucceeded {
				w.Expect(w.Jobs()).To(BeEmpty())
				if s.Status.Reason == v1alpha1.ReasonEncryptionSecretNotAvailable {
					w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", HavePrefix(
						"name a Secret of namespace "+w.Namespace+" with the repository's password in "+
							"dataSource.encryptionSecret (--encryption-secret)"))))
				}
				return
			}
			w.Expect(s.Status.Resolved.Namespace).To(Equal(source.Namespace))
			w.Expect(s.Status.Dependencies).
				To(ContainElement(And(HaveField("Kind", "Repository"), HaveField("Found", HaveValue(BeTrue())))))
		})
	}
}

func TestConsentIsAskedForAgainBeforeTheJob(t *testing.T) {
	t.Parallel()
	w, source := newWorld(t), newWorld(t)
	source.consent("uploads", w.Namespace)
	w.Killer = &sessiontest.Killer{At: 3}
	w.restore("restore", func(s *v1alpha1.RestoreSession) { s.Spec.DataSource.Namespace = source.Namespace })
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
	source.consent("uploads", "")
	w.Expect(ending(w.settle("restore"))).To(Equal("Failed/RestoreNotAllowed"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

// consent allows a namespace to restore from a Repository of this world.
func (w *world) consent(repository, to string) {
	w.T.Helper()
	var repo v1alpha1.Repository
	w.Get(repository, &repo)
	before := repo.DeepCopy()
	repo.Annotations = map[string]string{v1alpha1.AnnotationRestoreTo: to}
	w.Expect(w.Client.Patch(w.T.Context(), &repo, client.MergeFrom(before))).To(Succeed())
}
