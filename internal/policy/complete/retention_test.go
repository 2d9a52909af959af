package complete

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestTheDefaultRetentionPolicyIsForBackendsThatNameNone(t *testing.T) {
	keep, own := ref("backup", "keep"), ref("", "own")
	for name, tc := range map[string]struct {
		backends []v1alpha1.BackendReference
		want     []v1alpha1.BackendReference
		resolved []v1alpha1.ResolvedBackend
	}{
		"without a backend": {
			want: []v1alpha1.BackendReference{
				{Name: "s3", StorageRef: new(ref("backup", "s3")), RetentionPolicy: &keep},
			},
			resolved: []v1alpha1.ResolvedBackend{{Name: "s3", StorageRef: ref("backup", "s3"), RetentionPolicy: &keep}},
		},
		"a backend with a storage": {
			backends: []v1alpha1.BackendReference{{Name: "main", StorageRef: new(ref("", "plain"))}},
			want: []v1alpha1.BackendReference{
				{Name: "main", StorageRef: new(ref("", "plain")), RetentionPolicy: &keep},
			},
			resolved: []v1alpha1.ResolvedBackend{
				{Name: "main", StorageRef: ref("shop", "plain"), RetentionPolicy: &keep},
			},
		},
		"a backend without a storage": {
			backends: []v1alpha1.BackendReference{{Name: "main"}},
			want: []v1alpha1.BackendReference{
				{Name: "main", StorageRef: new(ref("backup", "s3")), RetentionPolicy: &keep},
			},
			resolved: []v1alpha1.ResolvedBackend{
				{Name: "main", StorageRef: ref("backup", "s3"), RetentionPolicy: &keep},
			},
		},
		"a backend with a RetentionPolicy": {
			backends: []v1alpha1.BackendReference{
				{Name: "main", StorageRef: new(ref("", "plain")), RetentionPolicy: &own},
			},
			want: []v1alpha1.BackendReference{
				{Name: "main", StorageRef: new(ref("", "plain")), RetentionPolicy: &own},
			},
		},
		"a backend with a RetentionPolicy and without a storage": {
			backends: []v1alpha1.BackendReference{{Name: "main", RetentionPolicy: &own}},
			want: []v1alpha1.BackendReference{
				{Name: "main", StorageRef: new(ref("backup", "s3")), RetentionPolicy: &own},
			},
			resolved: []v1alpha1.ResolvedBackend{{Name: "main", StorageRef: ref("backup", "s3")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			known := surroundings()
			known.DefaultRetention = func() *v1alpha1.ObjectReference { return &keep }
			c := smallest(func(s *v1alpha1.BackupConfigurationSpec) {
				s.Backends = tc.backends
				s.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{{
					Directory:        "/d",
					EncryptionSecret: new(ref("", "mine")),
				}}
			})
			completion := Complete(c, known)
			g.Expect(completion.Missing).To(BeEmpty())
			g.Expect(completion.Configuration.Spec.Backends).To(Equal(tc.want))
			g.Expect(completion.Resolved.Backends).To(Equal(tc.resolved))
			c.Status.Resolved = completion.Resolved
			for i, b := range SpecWithResolved(c).Backends {
				g.Expect(b.RetentionPolicy).To(Equal(tc.want[i].RetentionPolicy),
					"a lookup by the status finds the same")
			}
		})
	}
}

func TestARepositoryThatStaysKeepsTheRetentionPolicyOfItsBackend(t *testing.T) {
	g := NewWithT(t)
	known := surroundings()
	known.Repository = func(string) *v1alpha1.Repository { return existing(true) }
	known.DefaultStorage = func() *v1alpha1.ObjectReference { return nil }
	known.DefaultRetention = func() *v1alpha1.ObjectReference { return new(ref("backup", "keep")) }
	completion := Complete(smallest(func(s *v1alpha1.BackupConfigurationSpec) {
		s.Backends = []v1alpha1.BackendReference{{Name: "main", RetentionPolicy: new(ref("", "own"))}}
	}), known)
	g.Expect(completion.Configuration.Spec.Backends).To(Equal([]v1alpha1.BackendReference{
		{Name: "s3", StorageRef: new(ref("old", "s3")), RetentionPolicy: new(ref("", "own"))},
	}))
}

func TestWhichRetentionPolicyIsTheDefault(t *testing.T) {
	g := NewWithT(t)
	policy := func(namespace, name string, minute int, usage *v1alpha1.UsagePolicy) v1alpha1.RetentionPolicy {
		p := v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Date(2026, 11, 20, 8, minute, 0, 0,
				time.UTC)),
		}}
		p.Spec.Default, p.Spec.UsagePolicy = true, usage
		return p
	}
	everybody := &v1alpha1.UsagePolicy{
		AllowedNamespaces: v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromAll)},
	}
	private, cluster, own := policy("other", "private", 0, nil), policy("backup", "all", 5, everybody), policy("shop",
		"own", 9, nil)
	plain := policy("shop", "plain", 0, nil)
	plain.Spec.Default = false
	all := []v1alpha1.RetentionPolicy{private, cluster, plain}
	chosen := func(policies []v1alpha1.RetentionPolicy) *v1alpha1.ObjectReference {
		return ChooseDefault(DefaultPolicies(policies), []string{"backup"}, "shop", nil)
	}
	tenants := policy("evil", "all", 0, everybody)
	g.Expect(chosen(all)).To(Equal(new(ref("backup", "all"))))
	g.Expect(chosen(append(all, own))).To(Equal(new(ref("shop", "own"))))
	g.Expect(chosen(all[:1])).To(BeNil())
	g.Expect(chosen(all[2:])).To(BeNil())
	g.Expect(chosen(append(all, tenants))).To(Equal(new(ref("backup", "all"))))
	g.Expect(chosen([]v1alpha1.RetentionPolicy{tenants})).To(BeNil())
}
