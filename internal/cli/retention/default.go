package retention

import (
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// defaultInForce returns the default RetentionPolicy of a Repository, nil if there is none. It reads the Repository's
// status, because not every user is allowed to list the policies of other namespaces.
func defaultInForce(repository *v1alpha1.Repository) *v1alpha1.ObjectReference {
	if d := repository.Status.DefaultRetention; d != nil {
		return &d.Ref
	}
	return nil
}

// removesAfter returns when the default policy of a Repository begins to remove Snapshots. It is nil if that time has
// passed or there is none.
func removesAfter(repository *v1alpha1.Repository, now time.Time) *time.Time {
	d := repository.Status.DefaultRetention
	if d == nil || d.RemovesAfter == nil || !now.Before(d.RemovesAfter.Time) {
		return nil
	}
	return new(d.RemovesAfter.UTC())
}
