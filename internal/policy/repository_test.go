package policy_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// shop is a complete configuration with one backend.
func shop() (*v1alpha1.BackupConfiguration, *v1alpha1.RepositoryInfo) {
	configuration := &v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"},
			Backends: []v1alpha1.BackendReference{
				{Name: "s3", StorageRef: &v1alpha1.ObjectReference{Name: "bucket"}},
			},
		},
	}
	return configuration, &v1alpha1.RepositoryInfo{
		Name: "web", Backend: "s3", Directory: "/web",
		EncryptionSecret: &v1alpha1.ObjectReference{Name: "password"},
	}
}

func TestRepositoryOf(t *testing.T) {
	g := NewWithT(t)
	configuration, info := shop()
	repository := policy.RepositoryOf(configuration, info, "")
	g.Expect(repository.Namespace + "/" + repository.Name).To(Equal("shop/web"))
	g.Expect(repository.Spec).To(Equal(v1alpha1.RepositorySpec{
		AppRef: *configuration.Spec.Target, Driver: v1alpha1.DriverKopia,
		StorageRef: v1alpha1.ObjectReference{Name: "bucket"}, Path: "/web",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "password"},
	}))
	info.EncryptionSecret = nil
	g.Expect(policy.RepositoryOf(configuration, info, v1alpha1.DriverVolumeSnapshotter).Spec).To(Equal(
		v1alpha1.RepositorySpec{AppRef: *configuration.Spec.Target, Driver: v1alpha1.DriverVolumeSnapshotter}))
	configuration.Spec.Backends[0].StorageRef = nil
	g.Expect(policy.RepositoryOf(configuration, info, v1alpha1.DriverKopia).Spec).To(Equal(v1alpha1.RepositorySpec{
		AppRef: *configuration.Spec.Target, Driver: v1alpha1.DriverKopia, Path: "/web",
	}), "a task that does not fit the repository leaves fields out")
}

func TestCompareRepository(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.RepositorySpec)
		want   policy.RepositoryDifference
		// run is set if the answer to a run is another one.
		run *policy.RepositoryDifference
	}{
		"the same": {change: func(*v1alpha1.RepositorySpec) {}},
		"other spelling": {change: func(s *v1alpha1.RepositorySpec) {
			s.Path, s.StorageRef.Namespace, s.EncryptionSecret.Namespace, s.AppRef.Namespace = "web/", "shop",
				"shop", "shop"
		}},
		"what is allowed to change": {change: func(s *v1alpha1.RepositorySpec) {
			s.DeletionPolicy, s.Paused = v1alpha1.WipeOut, true
		}},
		"no target yet": {change: func(s *v1alpha1.RepositorySpec) { s.AppRef = v1alpha1.TypedObjectReference{} }},
		"another driver": {
			change: func(s *v1alpha1.RepositorySpec) { s.Driver = v1alpha1.DriverVolumeSnapshotter },
			want:   policy.OtherDriver,
		},
		"another storage": {
			change: func(s *v1alpha1.RepositorySpec) { s.StorageRef.Name = "disk" }, want: policy.OtherPlace,
		},
		"another namespace": {
			change: func(s *v1alpha1.RepositorySpec) { s.StorageRef.Namespace = "disk" }, want: policy.OtherPlace,
		},
		"another directory": {
			change: func(s *v1alpha1.RepositorySpec) { s.Path = "/web/old" }, want: policy.OtherPlace,
		},
		"another target": {change: func(s *v1alpha1.RepositorySpec) { s.AppRef.Name = "db" }, want: policy.OtherTarget},
		"another kind": {
			change: func(s *v1alpha1.RepositorySpec) { s.AppRef.Kind = "DaemonSet" }, want: policy.OtherTarget,
		},
		"another API group": {
			change: func(s *v1alpha1.RepositorySpec) { s.AppRef.APIGroup = "" },
			want:   policy.OtherTarget, run: new(policy.SameRepository),
		},
		"a target elsewhere": {
			change: func(s *v1alpha1.RepositorySpec) { s.AppRef.Namespace = "old" },
			want:   policy.OtherTarget, run: new(policy.SameRepository),
		},
		"another Secret": {
			change: func(s *v1alpha1.RepositorySpec) { s.EncryptionSecret.Name = "other" }, want: policy.OtherSecret,
		},
	} {
		t.Run(name, func(t *testing.T) {
			configuration, info := shop()
			wanted := policy.RepositoryOf(configuration, info, v1alpha1.DriverKopia)
			actual := wanted.DeepCopy()
			tt.change(&actual.Spec)
			g := NewWithT(t)
			g.Expect(policy.CompareRepository(actual, wanted)).To(Equal(tt.want))
			if tt.run != nil {
				tt.want = *tt.run
			}
			g.Expect(policy.CompareRepositoryOfRun(actual, wanted)).To(Equal(tt.want))
		})
	}
}

// The data stays when a Repository is deleted, and does not open with the password of another Secret.
func TestWithAnotherSecretARepositoryNeedsAnotherDirectory(t *testing.T) {
	t.Parallel()
	for difference, advised := range map[policy.RepositoryDifference]bool{
		policy.OtherSecret: true, policy.OtherPlace: false, policy.OtherTarget: false,
	} {
		got := policy.DifferenceMessage(difference, &v1alpha1.Repository{}, &v1alpha1.Repository{})
		NewWithT(t).Expect(strings.HasSuffix(got, "another name and another directory")).To(Equal(advised), got)
	}
}
