package retention_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// TestALostDefaultIsRemembered checks that another default takes nobody's place by itself.
func TestALostDefaultIsRemembered(t *testing.T) {
	t.Parallel()
	ref := v1alpha1.ObjectReference{Namespace: "shop", Name: "keep"}
	old := v1alpha1.RepositoryStatus{DefaultRetention: &v1alpha1.DefaultRetention{Ref: ref, UID: "1", Generation: 3}}
	lost := v1alpha1.RepositoryStatus{FormerDefault: &v1alpha1.FormerDefault{Ref: ref, UID: "1"}}
	both := v1alpha1.RepositoryStatus{
		DefaultRetention: old.DefaultRetention, FormerDefault: &v1alpha1.FormerDefault{Ref: ref, UID: "0"},
	}
	for name, tt := range map[string]struct {
		status     v1alpha1.RepositoryStatus
		uid        string
		annotation string
		replaces   bool
	}{
		"there was none":                  {v1alpha1.RepositoryStatus{}, "2", "", true},
		"the same":                        {old, "1", "", true},
		"the same is back":                {lost, "1", "", true},
		"another":                         {old, "2", "", false},
		"another of that name, afterward": {lost, "2", "", false},
		"another that says so":            {lost, "2", "1", true},
		"another that names several":      {lost, "2", "7, 1", true},
		"another that names itself":       {lost, "2", "2", false},
		"another that names an older one": {both, "2", "0", false},
		"another that names a part of it": {lost, "2", "11", false},
		"another that names nothing":      {lost, "2", ",", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{
				UID:         types.UID(tt.uid),
				Annotations: map[string]string{v1alpha1.AnnotationReplacesDefault: tt.annotation},
			}}
			NewWithT(t).Expect(retention.Replaces(policy, retention.Followed(&tt.status))).To(Equal(tt.replaces))
		})
	}
}
