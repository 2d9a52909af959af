package apply_test

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/apply"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

const manager = "cairn-test"

var bed testbed.Bed

func TestMain(m *testing.M) { os.Exit(bed.Run(m)) }

func storage(name string) *v1alpha1.BackupStorage {
	return &v1alpha1.BackupStorage{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: v1alpha1.BackupStorageSpec{
			Storage: v1alpha1.Storage{
				Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{
					PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "a"},
				},
			},
		},
	}
}

func TestObjectIsCreatedAndTakenOver(t *testing.T) {
	g, c := NewWithT(t), bed.Client
	s := storage("taken")
	s.Labels = map[string]string{"by": "us", "old": "x"}
	g.Expect(apply.Object(t.Context(), c, manager, s)).To(Succeed())
	g.Expect(s.UID).NotTo(BeEmpty(), "afterwards the argument holds what the API server has")

	live := s.DeepCopy()
	live.Labels["by"], live.Labels["theirs"] = "them", "x"
	g.Expect(c.Update(t.Context(), live)).To(Succeed())
	again := storage("taken")
	again.Labels = map[string]string{"by": "us"}
	g.Expect(apply.Object(t.Context(), c, manager, again)).To(Succeed())
	g.Expect(again.Labels).To(Equal(map[string]string{"by": "us", "theirs": "x"}),
		"our label wins, the label that we no longer set goes, their label stays")

	same := storage("taken")
	same.Labels = map[string]string{"by": "us"}
	g.Expect(apply.Object(t.Context(), c, manager, same)).To(Succeed())
	g.Expect(same.ResourceVersion).To(Equal(again.ResourceVersion), "applying the same object again changes nothing")
}

func TestStatusIsNotApplied(t *testing.T) {
	g, c := NewWithT(t), bed.Client
	s := storage("status")
	s.Status.ObservedGeneration = 7
	g.Expect(apply.Object(t.Context(), c, manager, s)).To(Succeed())
	g.Expect(s.Status.ObservedGeneration).NotTo(Equal(int64(7)))
}

func TestObjectLeavesAnotherUIDAlone(t *testing.T) {
	g, c := NewWithT(t), bed.Client
	s := storage("uid")
	g.Expect(apply.Object(t.Context(), c, manager, s)).To(Succeed())
	other := storage("uid")
	other.UID, other.Labels = "00000000-0000-0000-0000-000000000000", map[string]string{"by": "us"}
	g.Expect(apply.Object(t.Context(), c, manager, other)).To(MatchError(apierrors.IsInvalid, "is invalid"))
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	g.Expect(s.Labels).To(BeEmpty())

	g.Expect(c.Delete(t.Context(), s)).To(Succeed())
	g.Expect(apply.Object(t.Context(), c, manager, s)).To(MatchError(apierrors.IsConflict, "is a conflict"),
		"a deleted object does not come back")
	g.Expect(apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(s), s))).To(BeTrue())
}

func TestMetadataDiffers(t *testing.T) {
	have := func() *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{"a": "1", "b": ""}, Annotations: map[string]string{"c": "2"},
			OwnerReferences: []metav1.OwnerReference{{UID: "x"}},
		}}
	}
	for name, tc := range map[string]struct {
		wanted  metav1.ObjectMeta
		differs bool
	}{
		"nothing is wanted": {metav1.ObjectMeta{}, false},
		"a part of what there is": {
			metav1.ObjectMeta{Labels: map[string]string{"b": ""}, OwnerReferences: []metav1.OwnerReference{{UID: "x"}}},
			false,
		},
		"another label":      {metav1.ObjectMeta{Labels: map[string]string{"a": "2"}}, true},
		"an empty label":     {metav1.ObjectMeta{Labels: map[string]string{"d": ""}}, true},
		"another annotation": {metav1.ObjectMeta{Annotations: map[string]string{"c": "3"}}, true},
		"another owner":      {metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "y"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(apply.MetadataDiffers(have(),
				&corev1.ConfigMap{ObjectMeta: tc.wanted})).To(Equal(tc.differs))
		})
	}
}

// Each apply logs whether it made the object.
func TestObjectIsLogged(t *testing.T) {
	g := NewWithT(t)
	ctx, lines := loglines.Record(t.Context(), 0)
	s := storage("logged")
	g.Expect(apply.Object(ctx, bed.Client, manager, s)).To(Succeed())
	s.Labels = map[string]string{"by": "us"}
	g.Expect(apply.Object(ctx, bed.Client, manager, s)).To(Succeed())
	const object = `"backupStorage"={"name"="logged" "namespace"="default"}`
	g.Expect(*lines).To(HaveExactElements(
		And(ContainSubstring(`"created"`), ContainSubstring(object)),
		And(ContainSubstring(`"changed"`), ContainSubstring(object))))
}
