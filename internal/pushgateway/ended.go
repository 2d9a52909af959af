package pushgateway

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// ended returns when a run that has a completionTime ended, or nil if that is still to come.
//
// The clock of the manager has written that time, and tells Now as well, so it can be wrong although it seems to have
// passed. But the API server tells when it created the Snapshots of the run: if the run began only after that, the
// manager's clock was ahead, and the run ended with its last Snapshot. If the API server's clock was as wrong, or the
// run has no Snapshot, nothing tells, and the time stays in the gateway until the next success replaces it.
func (b *Backup) ended() *metav1.Time {
	s := &b.Session.Status
	wrong := v1alpha1.Ahead(s.CompletionTime.Time, b.Now)
	var last *metav1.Time
	for _, snapshot := range b.Snapshots {
		created := snapshot.CreationTimestamp
		wrong = wrong || s.StartTime != nil && !created.IsZero() && v1alpha1.Ahead(s.StartTime.Time, created.Time)
		if at := snapshot.PassedBy(b.Now); at != nil && (last == nil || last.Before(at)) {
			last = at
		}
	}
	switch created := b.Session.CreationTimestamp; {
	case !wrong:
		return s.CompletionTime
	case last != nil:
		return last
	case !created.IsZero() && !v1alpha1.Ahead(created.Time, b.Now):
		return &created
	}
	return nil
}
