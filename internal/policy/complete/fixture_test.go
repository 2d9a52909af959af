package complete

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func ref(namespace, name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{Namespace: namespace, Name: name}
}

// smallest returns the smallest policy, with changes.
func smallest(change ...func(*v1alpha1.BackupConfigurationSpec)) *v1alpha1.BackupConfiguration {
	c := &v1alpha1.BackupConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "files"}}
	c.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "uploads"}
	c.Spec.Sessions = []v1alpha1.BackupConfigurationSession{{SessionConfig: v1alpha1.SessionConfig{Name: "nightly"}}}
	for _, f := range change {
		f(&c.Spec)
	}
	return c
}

// surroundings returns a default storage with an encryption Secret.
func surroundings() Lookups {
	return Lookups{
		ClusterName:      "eu1",
		Repository:       func(string) *v1alpha1.Repository { return nil },
		DefaultStorage:   func() *v1alpha1.ObjectReference { return new(ref("backup", "s3")) },
		DefaultRetention: func() *v1alpha1.ObjectReference { return nil },
		Storage: func(r v1alpha1.ObjectReference) *v1alpha1.BackupStorage {
			switch r {
			case ref("backup", "s3"):
				return &v1alpha1.BackupStorage{
					Spec: v1alpha1.BackupStorageSpec{EncryptionSecret: &v1alpha1.LocalObjectReference{Name: "enc"}},
				}
			case ref("shop", "plain"):
				return &v1alpha1.BackupStorage{}
			}
			return nil
		},
	}
}

func existing(made bool) *v1alpha1.Repository {
	r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "files"}}
	if made {
		r.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	}
	r.Spec = v1alpha1.RepositorySpec{StorageRef: ref("old", "s3"), Path: "/a", EncryptionSecret: ref("old", "key")}
	return r
}
