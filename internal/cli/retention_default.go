package cli

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// defaultInForce is the default RetentionPolicy of a Repository, nil where there is none. The Repository itself knows it: not
// everybody may list the policies of other namespaces.
func defaultInForce(repository *v1alpha1.Repository) *v1alpha1.ObjectReference {
	if d := repository.Status.DefaultRetention; d != nil {
		return &d.Ref
	}
	return nil
}

// removesAfter is when the default policy of a Repository begins to remove Snapshots, where that is to come.
func removesAfter(repository *v1alpha1.Repository, now time.Time) *time.Time {
	d := repository.Status.DefaultRetention
	if d == nil || d.RemovesAfter == nil || !now.Before(d.RemovesAfter.Time) {
		return nil
	}
	return new(d.RemovesAfter.UTC())
}
