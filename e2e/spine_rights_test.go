package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// rights tries what a stolen token of a mover could do.
func (s *spine) rights(t *testing.T) {
	g := NewWithT(t)
	var pods corev1.PodList
	g.Expect(s.bed.Client.List(t.Context(), &pods, client.InNamespace(spineNamespace), client.MatchingLabels{
		v1alpha1.LabelBackupSession: s.ended.Name, v1alpha1.LabelConfiguration: "app-web",
	})).To(Succeed())
	g.Expect(pods.Items).NotTo(BeEmpty(), "the mover's pod is still there")
	mover := s.tokenClient(t, &pods.Items[0])

	var own, other v1alpha1.Snapshot
	for _, info := range s.ended.Status.Snapshots {
		key := client.ObjectKey{Namespace: spineNamespace, Name: info.Name}
		switch info.Repository {
		case "app-web":
			g.Expect(s.bed.Client.Get(t.Context(), key, &own)).To(Succeed())
		case "app-files":
			g.Expect(s.bed.Client.Get(t.Context(), key, &other)).To(Succeed())
		}
	}
	patch := func(snapshot *v1alpha1.Snapshot, status string) error {
		return mover.Status().Patch(t.Context(), snapshot.DeepCopy(),
			client.RawPatch("application/merge-patch+json", []byte(`{"status":`+status+`}`)))
	}
	g.Expect(patch(&own, `{"components":{"pages":{"error":""}}}`)).To(Succeed(), "its own component is its own")
	g.Expect(patch(&other, `{"components":{"pvc":{"id":"forged"}}}`)).
		To(MatchError(ContainSubstring("denied")), "another session's Snapshot")
	g.Expect(patch(&own, `{"phase":"Succeeded","size":"1 B"}`)).
		To(MatchError(ContainSubstring("denied")), "what only the manager writes")
	g.Expect(mover.Get(t.Context(), client.ObjectKey{Namespace: spineNamespace, Name: "encryption"}, &corev1.Secret{})).
		To(MatchError(ContainSubstring(`cannot get resource "secrets"`)))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: spineNamespace, Name: "stolen"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "cairn.local/toolbox:dev"}}},
	}
	g.Expect(mover.Create(t.Context(), pod)).To(MatchError(ContainSubstring(`cannot create resource "pods"`)))
}

// tokenClient is a client with the token of a pod.
func (s *spine) tokenClient(t *testing.T, pod *corev1.Pod) client.Client {
	t.Helper()
	g := NewWithT(t)
	set, err := kubernetes.NewForConfig(s.bed.Config)
	g.Expect(err).NotTo(HaveOccurred())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID,
		},
	}}
	token, err := set.CoreV1().ServiceAccounts(pod.Namespace).
		CreateToken(t.Context(), pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	config := rest.AnonymousClientConfig(s.bed.Config)
	config.BearerToken = token.Status.Token
	c, err := client.New(config, client.Options{Scheme: s.bed.Client.Scheme()})
	g.Expect(err).NotTo(HaveOccurred())
	return c
}
