package retention

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Followed returns the default that a Repository followed last, according to its status, nil if there was none. Without
// this memory a default that is deleted, renamed or overtaken would make room for one that keeps less.
func Followed(s *v1alpha1.RepositoryStatus) *v1alpha1.FormerDefault {
	if d := s.DefaultRetention; d != nil && d.UID != "" {
		return &v1alpha1.FormerDefault{Ref: d.Ref, UID: d.UID}
	}
	return s.FormerDefault
}

// Replaces reports whether a default may take the place of the one that a Repository followed last: it is the same
// object, or its annotation names that one.
func Replaces(policy *v1alpha1.RetentionPolicy, former *v1alpha1.FormerDefault) bool {
	if former == nil || policy.UID == former.UID {
		return true
	}
	named := strings.Split(policy.Annotations[v1alpha1.AnnotationReplacesDefault], ",")
	return slices.ContainsFunc(named, func(uid string) bool { return types.UID(strings.TrimSpace(uid)) == former.UID })
}
