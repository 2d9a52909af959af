package repositories

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// shop returns the objects of a departure, and a Binder whose API server the departure loses before the deletion as
// long as killed is true.
func shop(
	killed *bool, old *v1alpha1.BackupConfiguration, target v1alpha1.TypedObjectReference,
) (Binder, *v1alpha1.Repository) {
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "uploads", UID: "uid-r",
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn},
		},
		Spec: v1alpha1.RepositorySpec{AppRef: target, DeletionPolicy: v1alpha1.DeleteObjects},
	}
	c := fake.NewClientBuilder().WithScheme(testbed.Scheme()).
		WithObjects(old, repository, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}).
		WithIndex(&v1alpha1.BackupConfiguration{}, "users", func(o client.Object) (out []string) {
			for _, r := range policy.ConfigurationRepositories(o.(*v1alpha1.BackupConfiguration)) {
				out = append(out, r.Name)
			}
			return out
		}).
		WithInterceptorFuncs(interceptor.Funcs{Delete: func(
			ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption,
		) error {
			if *killed {
				return errors.New("killed")
			}
			return c.Delete(ctx, o, opts...)
		}}).Build()
	return Binder{
		Client: c, Live: c, Users: "users", Marked: "marked",
		Writer: status.Writer{Client: c, Events: record.NewFakeRecorder(10), Owner: "test"},
	}, repository
}

// The manager is killed between the two writes of a departure. Before it comes back, another policy that keeps
// everything takes the Repository over.
func TestAKilledDepartureLeavesNoWipeOut(t *testing.T) {
	target := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "uploads"}
	configuration := func(name string, p v1alpha1.RepositoryDeletionPolicy) *v1alpha1.BackupConfiguration {
		c := &v1alpha1.BackupConfiguration{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		}
		c.Spec.Target = &target
		c.Spec.Sessions = []v1alpha1.BackupConfigurationSession{{
			Repositories: []v1alpha1.RepositoryInfo{{Name: "uploads", DeletionPolicy: p}},
		}}
		return c
	}
	for name, test := range map[string]struct{ used, binds, goes bool }{
		"another policy uses it":        {used: true},
		"another policy binds it first": {used: true, binds: true},
		"nobody uses it, and it goes":   {goes: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			killed := true
			old := configuration("old", v1alpha1.WipeOutRepository)
			b, repository := shop(&killed, old, target)
			letGo := func() error {
				_, err := b.Departure(old, func(u *v1alpha1.BackupConfiguration) bool { return u.UID == old.UID }).
					LetGo(t.Context(), policy.ConfigurationRepositories(old)[0])
				return err
			}
			g.Expect(letGo()).To(MatchError(ContainSubstring("killed")))
			killed = false
			other := configuration("new", v1alpha1.RetainRepository)
			if test.used {
				g.Expect(b.Client.Create(t.Context(), other)).To(Succeed())
			}
			if test.binds {
				g.Expect(b.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
				g.Expect(b.Name(t.Context(), repository, other)).To(Succeed())
				g.Expect(b.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
				g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
			}
			g.Expect(letGo()).To(Succeed())
			err := b.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)
			if test.goes {
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(repository.DeletionTimestamp).To(BeNil(), "the other policy uses it")
			g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects), "no policy asks for a wipe")
			g.Expect(repository.Annotations).NotTo(HaveKey(v1alpha1.AnnotationDeparture))
		})
	}
}

// Anybody who writes metadata can write the note of a departure, and a copy of a Repository brings it along.
func TestANoteOfNoDepartureChangesNoDeletionPolicy(t *testing.T) {
	target := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "uploads"}
	for name, value := range map[string]string{
		"of nobody":             "WipeOut",
		"without a value":       "",
		"unknown":               "x",
		"of another Repository": "WipeOut/uid-other/BackupConfiguration/old/uid-old",
		"of an unknown kind":    "WipeOut/uid-r/Secret/old/uid-old",
		"of no policy":          "WipeOut/uid-r/BackupConfiguration/old/",
		"unknown but bound":     "x/uid-r/BackupConfiguration/old/uid-old",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			killed := false
			c := &v1alpha1.BackupConfiguration{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "new", UID: "uid-new"},
			}
			c.Spec.Target = &target
			for _, settles := range []bool{false, true} {
				b, repository := shop(&killed, c, target)
				key := client.ObjectKeyFromObject(repository)
				g.Expect(b.Client.Get(t.Context(), key, repository)).To(Succeed())
				metav1.SetMetaDataAnnotation(&repository.ObjectMeta, v1alpha1.AnnotationDeparture, value)
				g.Expect(b.Client.Update(t.Context(), repository)).To(Succeed())
				if settles {
					waits, err := Settle(t.Context(), b.Writer, b.Live, repository)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(waits).To(BeFalse())
				} else {
					g.Expect(b.Name(t.Context(), repository, c)).To(Succeed())
				}
				g.Expect(b.Client.Get(t.Context(), key, repository)).To(Succeed())
				g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
				g.Expect(repository.Annotations).NotTo(HaveKey(v1alpha1.AnnotationDeparture))
			}
		})
	}
}

// The manager is killed between the two writes of a departure, and somebody removes the finalizer of the policy.
func TestADepartureWithoutItsPolicyLeavesNoWipeOut(t *testing.T) {
	g := NewWithT(t)
	target := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "uploads"}
	old := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", UID: "uid-old"}}
	old.Spec.Target = &target
	old.Spec.Sessions = []v1alpha1.BackupConfigurationSession{{
		Repositories: []v1alpha1.RepositoryInfo{{Name: "uploads", DeletionPolicy: v1alpha1.WipeOutRepository}},
	}}
	killed := true
	b, repository := shop(&killed, old, target)
	_, err := b.Departure(old, func(u *v1alpha1.BackupConfiguration) bool { return u.UID == old.UID }).
		LetGo(t.Context(), policy.ConfigurationRepositories(old)[0])
	g.Expect(err).To(MatchError(ContainSubstring("killed")))
	killed = false
	settle := func() bool {
		g.Expect(b.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
		waits, err := Settle(t.Context(), b.Writer, b.Live, repository)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(b.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
		return waits
	}
	g.Expect(settle()).To(BeTrue(), "the policy still goes")
	g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.WipeOut))

	g.Expect(b.Client.Delete(t.Context(), old)).To(Succeed())
	again := old.DeepCopy() // a policy of the same name is another one
	again.UID, again.ResourceVersion = "uid-again", ""
	g.Expect(b.Client.Create(t.Context(), again)).To(Succeed())
	g.Expect(settle()).To(BeFalse())
	g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
	g.Expect(repository.Annotations).NotTo(HaveKey(v1alpha1.AnnotationDeparture))
}

// A policy was applied before the one that used the Repository went, and the cache does not know it yet.
func TestADepartureSeesAPolicyThatTheCacheLacks(t *testing.T) {
	g := NewWithT(t)
	target := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "uploads"}
	policyOf := func(name string) *v1alpha1.BackupConfiguration {
		c := &v1alpha1.BackupConfiguration{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		}
		c.Spec.Target = &target
		c.Spec.Sessions = []v1alpha1.BackupConfigurationSession{{
			Repositories: []v1alpha1.RepositoryInfo{{Name: "uploads", DeletionPolicy: v1alpha1.WipeOutRepository}},
		}}
		return c
	}
	killed, old := false, policyOf("old")
	b, repository := shop(&killed, old, target)
	live, _ := shop(&killed, old, target)
	g.Expect(live.Client.Create(t.Context(), policyOf("new"))).To(Succeed())
	b.Live = live.Client
	_, err := b.Departure(old, func(u *v1alpha1.BackupConfiguration) bool { return u.UID == old.UID }).
		LetGo(t.Context(), policy.ConfigurationRepositories(old)[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.DeletionTimestamp).To(BeNil())
	g.Expect(repository.Spec.DeletionPolicy).To(Equal(v1alpha1.DeleteObjects))
}
