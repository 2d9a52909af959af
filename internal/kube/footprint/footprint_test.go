package footprint

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Without the task, nobody could tell that the pod of a deleted Repository still creates a repository in a directory
// that another Repository has taken.
func TestTheCacheKeepsWherePodsMakeRepositories(t *testing.T) {
	g := NewWithT(t)
	pod := func(label string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: "mover", Labels: map[string]string{label: "main"},
				Annotations:   map[string]string{v1alpha1.AnnotationTask: "a task", "other": "of others"},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
			},
			Spec:   corev1.PodSpec{NodeName: "node"},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
	}
	for label, kept := range map[string]map[string]string{
		v1alpha1.LabelRepository:    {v1alpha1.AnnotationTask: "a task"},
		v1alpha1.LabelBackupSession: nil,
		v1alpha1.LabelStorage:       nil,
	} {
		out, err := withoutWork(pod(label))
		g.Expect(err).NotTo(HaveOccurred())
		want := pod(label)
		want.Annotations, want.ManagedFields, want.Spec = kept, nil, corev1.PodSpec{}
		g.Expect(out).To(Equal(want), label)
	}
}

// An ended pod holds a claim that is being deleted: see controllers/claim.
func TestTheCacheKeepsWhichClaimsPodsUse(t *testing.T) {
	g := NewWithT(t)
	claim := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-web-0", ReadOnly: true},
	}}
	task := corev1.Volume{Name: "task", VolumeSource: corev1.VolumeSource{
		DownwardAPI: &corev1.DownwardAPIVolumeSource{},
	}}
	out, err := withoutWork(&corev1.Pod{Spec: corev1.PodSpec{
		NodeName: "node", Volumes: []corev1.Volume{task, claim}, Containers: []corev1.Container{{Name: "mover"}},
	}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out.(*corev1.Pod).Spec).To(Equal(corev1.PodSpec{Volumes: []corev1.Volume{claim}}))
}

// Selectors of BackupBatches choose by the fields that the cache keeps of targets, and notice changes by them.
func TestTheCacheKeepsWhatSelectorsChooseBy(t *testing.T) {
	pod := metav1.OwnerReference{Kind: "Pod", Name: "web-0", Controller: new(true)}
	set := metav1.OwnerReference{Kind: "StatefulSet", Name: "web", Controller: new(true)}
	now := metav1.Now()
	for owner, kept := range map[*metav1.OwnerReference][]metav1.OwnerReference{&pod: {pod}, &set: nil} {
		o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "data", UID: "uid", ResourceVersion: "7", Generation: 3, DeletionTimestamp: &now,
			Labels: map[string]string{"app": "shop"}, Annotations: map[string]string{"a": "b"},
			Finalizers:      []string{"f"},
			OwnerReferences: []metav1.OwnerReference{*owner},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		}}
		want := o.DeepCopy()
		want.Annotations, want.Finalizers, want.ManagedFields, want.OwnerReferences = nil, nil, nil, kept
		out, err := onlyIdentity(o)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(out).To(Equal(want))
	}
}
