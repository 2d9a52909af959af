package sidecar

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// restores creates a restore that the sidecar of a pod works on. The returned function ends it.
func (s *shop) restores() (end func()) {
	s.Helper()
	r := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "back"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     s.configuration.Spec.Target,
			DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: "latest"},
		},
	}
	bed.Create(s.T, r)
	idle := r.DeepCopy()
	text, err := sidecar.Encode(sidecar.Work{Assignments: []sidecar.Assignment{{
		Host: "target", Attempt: 1, Pod: "web-x", PodUID: "uid",
		Components: []sidecar.Component{{Component: task.Component{Name: "pages"}, Volume: "pages"}},
	}}})
	s.Expect(err).NotTo(HaveOccurred())
	r.Labels, r.Annotations = map[string]string{v1alpha1.LabelSidecar: s.secret.Name},
		map[string]string{v1alpha1.AnnotationSidecarTask: text}
	s.Expect(bed.Client.Patch(s.Context(), r, client.MergeFrom(idle))).To(Succeed())
	bed.Cached(s.T, r)
	return func() {
		s.Helper()
		at := r.DeepCopy()
		r.Labels, r.Annotations = nil, nil
		s.Expect(bed.Client.Patch(s.Context(), r, client.MergeFrom(at))).To(Succeed())
	}
}

// Changing or removing the sidecar replaces the pods: a restore would stay half done.
func TestASidecarThatRestoresIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		do    func(*shop)
		after func(*shop)
	}{
		"the policy goes": {
			do:    func(s *shop) { bed.Remove(s.T, s.configuration) },
			after: func(s *shop) { s.clean() },
		},
		"the policy wants more memory": {
			do: func(s *shop) {
				bed.Edit(s.T, s.configuration, func() {
					s.configuration.Spec.Sessions[0].Addon = &v1alpha1.AddonInfo{
						Name: "workload-addon", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
						ContainerRuntimeSettings: &v1alpha1.ContainerRuntimeSettings{
							Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
								corev1.ResourceMemory: resource.MustParse("1Gi"),
							}},
						},
					}
				})
				bed.ExpectReason(s.T, s.configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonSidecarRolloutInProgress,
					"once RestoreSession back has ended")
			},
			after: func(s *shop) {
				bed.Eventually(s.T, s.deployment, func(g Gomega) {
					g.Expect(s.container().Resources.Limits.Memory().String()).To(Equal("1Gi"))
				}, "the sidecar has more memory")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.start()
			s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
			generation := s.deployment.Generation
			end := s.restores()
			change.do(s)
			bed.Quiet(t, s.namespace)
			s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
			s.Expect(s.deployment.Generation).To(Equal(generation), "no pod is replaced")
			s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.secret), s.secret)).To(Succeed())
			s.Expect(s.secret.Data).
				To(And(HaveKey(sidecar.KeyToken), HaveKey(sidecar.KeysOf(s.namespace, "web").Encryption("password"))))
			end()
			change.after(s)
		})
	}
}

// An operator that writes the whole workload each time and Cairn must not replace its pods for ever.
func TestASidecarThatIsTakenAwayAgainAndAgainStaysAway(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	for range 6 {
		s.injected(oldImage)
		s.strip()
	}
	bed.ExpectReason(t, s.configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonSidecarNotPossible,
		"some other writer removes or changes the sidecar of Deployment "+s.namespace+"/web")
	bed.Quiet(t, s.namespace)
	s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
	s.Expect(s.container()).To(BeNil())
	bed.Remove(t, s.configuration)
	s.clean()
}

// strip writes the whole Deployment, like an operator that knows nothing of the sidecar.
func (s *shop) strip() {
	s.Helper()
	s.Eventually(func() error {
		if err := bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment); err != nil {
			return err
		}
		spec := &s.deployment.Spec.Template.Spec
		spec.InitContainers, spec.Volumes = nil, spec.Volumes[:2]
		delete(s.deployment.Labels, v1alpha1.LabelSidecar)
		return bed.Client.Update(s.Context(), s.deployment, client.FieldOwner("some-operator"))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "another writer can have written it in between")
}
