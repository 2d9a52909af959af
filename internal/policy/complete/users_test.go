package complete

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestStorageUse(t *testing.T) {
	t.Parallel()
	storage := func(namespace, name string, isDefault bool) *v1alpha1.BackupStorage {
		s := &v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		s.Spec.Default = isDefault
		return s
	}
	repository := func(storage string, driver v1alpha1.Driver) *v1alpha1.Repository {
		return &v1alpha1.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec: v1alpha1.RepositorySpec{
				Driver: driver, StorageRef: v1alpha1.ObjectReference{Namespace: "shop", Name: storage},
			},
		}
	}
	backend := func(storage string) []v1alpha1.BackendReference {
		b := v1alpha1.BackendReference{Name: "main"}
		if storage != "" {
			b.StorageRef = &v1alpha1.ObjectReference{Name: storage}
		}
		return []v1alpha1.BackendReference{b}
	}
	for name, tt := range map[string]struct {
		going    *v1alpha1.BackupStorage
		others   []v1alpha1.BackupStorage
		backends []v1alpha1.BackendReference
		resolved string
		existing *v1alpha1.Repository
		want     string
	}{
		"it names the storage":         {backends: backend("s3"), want: "used"},
		"it names another one":         {backends: backend("other")},
		"it is inferred":               {resolved: "s3", want: "used"},
		"another one is inferred":      {going: storage("shop", "s3", true), resolved: "other"},
		"the default":                  {going: storage("shop", "s3", true), want: "used"},
		"the default of its backend":   {going: storage("shop", "s3", true), backends: backend(""), want: "used"},
		"no default":                   {going: storage("shop", "s3", false)},
		"the default of another place": {going: storage("mail", "s3", true)},
		"an older default": {
			going:  storage("shop", "s3", true),
			others: []v1alpha1.BackupStorage{*storage("shop", "a", true)},
		},
		"its Repository lies in the storage": {existing: repository("s3", ""), want: "used"},
		"its Repository lies elsewhere": {
			going: storage("shop", "s3", true), existing: repository("other", ""),
		},
		"its Repository holds VolumeSnapshots": {
			going:    storage("shop", "s3", true),
			existing: repository("s3", v1alpha1.DriverVolumeSnapshotter),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			if tt.going == nil {
				tt.going = storage("shop", "s3", false)
			}
			tt.going.DeletionTimestamp = new(metav1.Now())
			u := StorageUse{
				Storage: tt.going, Storages: append(tt.others, *tt.going),
				Repository: func(namespace, name string) *v1alpha1.Repository {
					if r := tt.existing; r != nil && r.Namespace == namespace && r.Name == name {
						return r
					}
					return nil
				},
				Labels: func(string) map[string]string { return nil },
			}
			c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
			c.Spec.Backends = tt.backends
			c.Spec.Sessions = []v1alpha1.BackupConfigurationSession{{}}
			if tt.resolved != "" {
				c.Status.Resolved = &v1alpha1.ResolvedConfiguration{Backends: []v1alpha1.ResolvedBackend{{
					Name: "main", StorageRef: v1alpha1.ObjectReference{Namespace: "shop", Name: tt.resolved},
				}}}
			}
			g.Expect(u.ByConfiguration(c)).To(Equal(tt.want != ""))
			if tt.existing != nil || tt.resolved != "" {
				return // of children, not of a batch
			}
			b := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "all", Generation: 2}}
			b.Spec.Backends = tt.backends
			g.Expect(u.ByBatch(b)).To(Equal(tt.want != ""))
			b.Status.ObservedGeneration = 2
			g.Expect(u.ByBatch(b)).To(Equal(tt.want != "" && len(tt.backends) > 0 && tt.backends[0].StorageRef != nil),
				"its children speak for themselves")
		})
	}
}
