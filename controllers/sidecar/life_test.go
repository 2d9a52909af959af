package sidecar

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestASidecarComesAndGoesWithItsPolicy(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.apply()
	before := s.deployment.DeepCopy()
	s.start()

	c := s.container()
	s.Expect(*c.RestartPolicy).To(Equal(corev1.ContainerRestartPolicyAlways))
	s.Expect(c.Args).To(Equal([]string{"sidecar", "--id", "cairn-sidecar-deployment-web"}))
	s.Expect(*c.SecurityContext.RunAsUser).To(BeEquivalentTo(1000), "it runs as the user of the workload")
	s.Expect(c.VolumeMounts).To(ContainElements(
		corev1.VolumeMount{Name: "pages", MountPath: "/cairn/volumes/pages", ReadOnly: true},
		corev1.VolumeMount{Name: "pages", MountPath: "/cairn/restore/pages"}))
	s.Expect(s.deployment.Labels).To(HaveKeyWithValue(v1alpha1.LabelSidecar, s.secret.Name))

	s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.secret), s.secret)).To(Succeed())
	keys := sidecar.KeysOf(s.namespace, "web")
	s.Expect(s.secret.Data).To(HaveKeyWithValue(keys.Storage(v1alpha1.S3AccessKeyID), []byte("id")))
	s.Expect(s.secret.Data).To(HaveKeyWithValue(keys.Encryption("password"), []byte("first")))
	s.Expect(s.secret.Data).To(HaveKey(keys.Version()))
	token, err := sidecar.ReadToken(string(s.secret.Data[sidecar.KeyToken]))
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(sidecar.ParseCredentials(s.secret.Annotations[v1alpha1.AnnotationSidecarCredentials])).
		To(Equal([]string{token.Credential}))

	generation := s.deployment.Generation
	s.apply()
	s.Expect(s.deployment.Generation).To(Equal(generation),
		"a tool that applies the manifest again does not remove the sidecar")
	s.Expect(s.container()).NotTo(BeNil())

	bed.Remove(t, s.configuration)
	s.clean()
	s.Expect(s.deployment.Spec).To(Equal(before.Spec))
	s.Expect(s.deployment.ManagedFields).To(HaveLen(len(before.ManagedFields) + 1)) // the status, which the test wrote
	events.Eventually(s.T, s.namespace, ContainElement(Satisfy(has(v1alpha1.ReasonSidecarRemoved))))
}

func TestASidecarIsRemovedThatLostItsPolicyWhileTheManagerWasDown(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	held.Store(s.namespace, true)
	bed.Remove(t, s.configuration)
	s.Consistently(func(g Gomega) {
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
		g.Expect(s.container()).NotTo(BeNil())
	}, time.Second, testbed.Interval).Should(Succeed())
	held.Delete(s.namespace)
	// A new manager sees only that it exists and has the label.
	bed.Eventually(t, s.deployment, func(Gomega) {}, "the cache has the workload")
	s.Expect(s.deployment.Labels).To(HaveKey(v1alpha1.LabelSidecar))
	r := another(t, s.namespace, newImage, time.Now())
	_, err := r.Reconcile(t.Context(), requestOf("Deployment", s.namespace, "web"))
	s.Expect(err).NotTo(HaveOccurred())
	s.clean()
	r.kept.Range(func(key, _ any) bool {
		s.Expect(key).To(BeNil(), "the manager keeps nothing of a workload without sidecar")
		return true
	})
}

func TestAManagerUpgradeFollowsTheNextRollout(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	r := another(t, s.namespace, newImage, time.Now())
	version := s.deployment.ResourceVersion
	s.Expect(s.refresh(r).Reason).To(BeEmpty())
	s.Expect(s.deployment.ResourceVersion).To(Equal(version), "nothing happens to the workload")

	s.apply(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(2)) })
	s.refresh(r)
	s.Expect(s.container().Image).To(Equal(oldImage), "more pods of the same template are no rollout")
	s.apply(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	s.rolledOut()
	s.refresh(r)
	s.Expect(s.container().Image).To(Equal(oldImage), "an upgrade does not follow a finished rollout")

	s.apply(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:3" })
	s.Expect(s.refresh(r).Reason).To(Equal(v1alpha1.ReasonSidecarRolloutInProgress))
	s.Expect(s.container().Image).To(Equal(newImage))
	s.Expect(s.deployment.Spec.Template.Spec.Containers[0].Image).To(Equal("web:3"))
	s.rolledOut()
	s.Expect(s.refresh(r).Reason).To(BeEmpty())
}

func TestATokenIsRenewedAtHalfOfItsLife(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	now := time.Now()
	s.refresh(another(t, s.namespace, oldImage, now))
	first, version := s.secret.Data[sidecar.KeyToken], s.secret.ResourceVersion
	s.refresh(another(t, s.namespace, oldImage, now.Add(25*time.Minute)))
	s.Expect(s.secret.ResourceVersion).To(Equal(version), "no change, no write")
	var seen []string
	for i := range 4 {
		s.refresh(another(t, s.namespace, oldImage, now.Add(time.Duration(i)*time.Hour+35*time.Minute)))
		token, err := sidecar.ReadToken(string(s.secret.Data[sidecar.KeyToken]))
		s.Expect(err).NotTo(HaveOccurred())
		seen = append(seen, token.Credential)
	}
	s.Expect(s.secret.Data[sidecar.KeyToken]).NotTo(Equal(first))
	s.Expect(sidecar.ParseCredentials(s.secret.Annotations[v1alpha1.AnnotationSidecarCredentials])).
		To(Equal(seen[1:]), "only tokens that can be in use")
}

func TestKeysFollowTheirSecrets(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	keys := sidecar.KeysOf(s.namespace, "web")
	r := another(t, s.namespace, oldImage, time.Now())
	s.refresh(r)
	version := string(s.secret.Data[keys.Version()])
	enc := testbed.Secret(s.namespace, "enc", nil)
	bed.Edit(t, enc, func() { enc.Data["password"] = []byte("second") })
	s.Expect(s.refresh(r).Reason).To(BeEmpty())
	s.Expect(s.secret.Data).To(HaveKeyWithValue(keys.Encryption("password"), []byte("second")))
	s.Expect(string(s.secret.Data[keys.Version()])).NotTo(Equal(version))

	s.Expect(bed.Client.Delete(t.Context(), enc)).To(Succeed())
	s.Expect(s.refresh(r).Reason).To(Equal(v1alpha1.ReasonEncryptionSecretNotAvailable))
	for k := range s.secret.Data {
		s.Expect(keys.Of(k)).To(BeFalse(), k)
	}
}

// A kubelet takes its time to bring changes to a pod: the keys for a run must be on their way when the sidecar is
// assigned the work.
func TestKeysAreLookedForWhenTheSidecarIsGivenWork(t *testing.T) {
	t.Parallel()
	for name, work := range map[string]func(*shop) client.Object{
		"a backup": func(s *shop) client.Object {
			return &v1alpha1.Snapshot{Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "01", Repository: "web", Session: "nightly", BackupSession: "b",
				Version: v1alpha1.SnapshotLayoutVersion, AppRef: *s.configuration.Spec.Target,
			}}
		},
		"a restore": func(s *shop) client.Object {
			return &v1alpha1.RestoreSession{Spec: v1alpha1.RestoreSessionSpec{
				Target:     s.configuration.Spec.Target,
				DataSource: &v1alpha1.RestoreDataSource{Repository: "web", Snapshot: "latest"},
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.start()
			bed.Quiet(t, s.namespace)
			enc := testbed.Secret(s.namespace, "enc", nil)
			bed.Edit(t, enc, func() { enc.Data["password"] = []byte("second") })
			o := work(s)
			o.SetNamespace(s.namespace)
			o.SetName("run")
			bed.Create(t, o)
			given := o.DeepCopyObject().(client.Object)
			given.SetLabels(map[string]string{v1alpha1.LabelSidecar: s.secret.Name})
			given.SetAnnotations(map[string]string{v1alpha1.AnnotationSidecarTask: "{}"})
			s.Expect(bed.Client.Patch(t.Context(), given, client.MergeFrom(o))).To(Succeed())
			bed.Eventually(t, s.secret, func(g Gomega) {
				g.Expect(s.secret.Data).
					To(HaveKeyWithValue(sidecar.KeysOf(s.namespace, "web").Encryption("password"), []byte("second")))
			}, "the Secret holds the new password")
		})
	}
}

func TestKeysGoWhenTheStorageMayNotBeUsedAnyMore(t *testing.T) {
	t.Parallel()
	for reason, forbid := range map[string]func(*v1alpha1.BackupStorageSpec){
		v1alpha1.ReasonStorageNotAllowed: func(s *v1alpha1.BackupStorageSpec) { s.UsagePolicy = nil },
		v1alpha1.ReasonDirectoryNotAllowed: func(s *v1alpha1.BackupStorageSpec) {
			s.UsagePolicy.DirectoryPrefix = "/elsewhere/{namespace}"
		},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			home := bed.Namespace(t, nil)
			storage := bed.ReadyStorage(t, home)
			bed.Create(t, testbed.S3Key(home))
			s := newShop(t, func(c *v1alpha1.BackupConfiguration) { c.Spec.Backends[0].StorageRef.Namespace = home })
			s.start()
			keys := sidecar.KeysOf(s.namespace, "web")
			bed.Eventually(t, s.secret, func(g Gomega) {
				g.Expect(s.secret.Data).To(HaveKey(keys.Storage(v1alpha1.S3AccessKeyID)))
			}, "the Secret holds the keys")
			bed.Edit(t, storage, func() { forbid(&storage.Spec) })
			bed.Eventually(t, s.secret, func(g Gomega) {
				for k := range s.secret.Data {
					g.Expect(keys.Of(k)).To(BeFalse(), k)
				}
			}, "the keys go without a run")
			s.Expect(s.container()).NotTo(BeNil(), "and no pod is replaced for that")
			bed.ExpectReason(t, s.configuration, v1alpha1.PhaseInvalid, reason, "")
		})
	}
}

func TestWhatIsInTheWay(t *testing.T) {
	for name, edit := range map[string]func(d *appsv1.Deployment){
		"init container cairn": func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "cairn", Image: "stones:1"}}
		},
		"container cairn":   func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Name = "cairn" },
		"volume cairn-work": func(d *appsv1.Deployment) { d.Spec.Template.Spec.Volumes[1].Name = "cairn-work" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.apply(edit)
			version := s.deployment.ResourceVersion
			bed.Create(t, s.configuration)
			bed.ExpectReason(t, s.configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonNameConflict,
				"has a "+name+" of its own")
			s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
			s.Expect(s.deployment.ResourceVersion).To(Equal(version))
			s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.secret), s.secret)).To(Succeed())
			s.Expect(s.secret.Data).To(BeEmpty())
			bed.Remove(t, s.configuration)
			s.Eventually(func() error {
				return bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.secret), s.secret)
			}, testbed.Patience, testbed.Interval).Should(MatchError(ContainSubstring("not found")))
		})
	}
}

func TestWithoutTheRightNothingIsTouched(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.Expect(bed.Client.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace,
		Name:      v1alpha1.SidecarInjectorClusterRole,
	}})).To(Succeed())
	s.Eventually(func() error {
		return running.Client.(limited).account.Apply(t.Context(),
			client.ApplyConfigurationFromUnstructured(
				sidecar.Withdrawal(appsv1.SchemeGroupVersion.WithKind("Deployment"),
					&metav1.ObjectMeta{Namespace: s.namespace, Name: "none"})), client.FieldOwner("test"),
			client.DryRunAll)
	}, testbed.Patience, testbed.Interval).Should(MatchError(ContainSubstring("forbidden")), "the right is gone")
	s.apply()
	version := s.deployment.ResourceVersion
	bed.Create(t, s.configuration)
	bed.ExpectReason(t, s.configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonSidecarNotPermitted,
		"kubectl create rolebinding cairn-sidecar-injector --namespace "+s.namespace+
			" --clusterrole cairn-sidecar-injector --serviceaccount cairn-system:cairn-manager")
	s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
	s.Expect(s.deployment.ResourceVersion).To(Equal(version))
	s.permit()
	s.Eventually(func(g Gomega) {
		_, err := running.Reconcile(t.Context(), requestOf("Deployment", s.namespace, "web"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
		g.Expect(s.container()).NotTo(BeNil())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "with the right, Cairn adds the sidecar")
}

func TestPoliciesOfOneWorkloadShareTheSidecar(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	generation := s.deployment.Generation
	second := s.policy("zeta")
	bed.Create(t, second)
	bed.ReadyRepositories(t, s.namespace, "zeta")
	bed.ExpectReason(t, second, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	bed.Eventually(t, s.secret, func(g Gomega) {
		g.Expect(s.secret.Data).To(HaveKey(sidecar.KeysOf(s.namespace, "zeta").Encryption("password")))
		g.Expect(s.secret.Data).To(HaveKey(sidecar.KeysOf(s.namespace, "web").Encryption("password")))
	}, "the Secret holds the keys of both")
	bed.Remove(t, s.configuration)
	bed.Eventually(t, s.secret, func(g Gomega) {
		g.Expect(s.secret.Data).NotTo(HaveKey(sidecar.KeysOf(s.namespace, "web").Encryption("password")))
		g.Expect(s.secret.Data).To(HaveKey(sidecar.KeysOf(s.namespace, "zeta").Encryption("password")))
	}, "the keys of one go with it")
	bed.Eventually(t, s.deployment, func(g Gomega) { g.Expect(s.deployment.Generation).To(Equal(generation)) },
		"no pod was replaced for all that")
	bed.Remove(t, second)
	s.clean()
}

func TestWhatSomebodyTakesAwayComesBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	bed.Edit(t, s.deployment, func() { s.deployment.Spec.Template.Spec.InitContainers = nil })
	s.injected(oldImage)
	bed.Edit(t, s.deployment, func() { delete(s.deployment.Labels, v1alpha1.LabelSidecar) })
	bed.Eventually(t, s.deployment, func(g Gomega) { g.Expect(s.deployment.Labels).To(HaveKey(v1alpha1.LabelSidecar)) },
		"the label is back")
	bed.Edit(t, s.deployment, func() { s.container().Image = "stones:1" })
	bed.Eventually(t, s.deployment, func(g Gomega) { g.Expect(s.container().Image).NotTo(Equal("stones:1")) },
		"Cairn reverts the image")
	bed.Remove(t, s.configuration)
	s.clean()
}
