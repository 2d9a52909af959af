package repository

import (
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// kept are the conditions with which a keeper says how its work went.
var kept = []string{v1alpha1.ConditionMaintained, v1alpha1.ConditionChecked, v1alpha1.ConditionScanned}

// Doubts that are remembered when nothing tells them any more. They are no names of Snapshots or conditions.
const (
	doubtTaken    = "/taken"
	doubtGone     = "/gone"
	doubtUnproved = "/unproved"
)

// doubts are what speaks against a Repository since an init Job has proved it.
type doubts struct {
	// why tells them apart. It is "" if there are none.
	why string
	// taken reports that the directory can belong to another Repository or cluster. It is only a doubt: the next init
	// Job looks who the owner is, and takes the directory from nobody without that owner's name in the annotation.
	taken bool
	// gone reports that the repository, its bucket or its directory was gone, so its data can come back in part.
	gone bool
}

// doubtOf returns what speaks against a Repository since an init Job has proved it. proved reports that one has proved
// it in its present place.
func doubtOf(repository *v1alpha1.Repository, counts counted, proved bool) (d doubts) {
	if counts.doubt.why != repository.Status.ProvedAfter {
		d = counts.doubt
	}
	for _, condition := range kept {
		taken, gone := foundTaken(repository, condition), foundGone(repository, condition)
		if taken || gone {
			at := conditions.Get(repository, condition).LastTransitionTime.UTC().Format(time.RFC3339)
			d = doubts{d.why + "/" + condition + "/" + at, d.taken || taken, d.gone || gone}
		}
	}
	taken, gone := repository.Status.TakenTime != nil, repository.Status.GoneTime != nil
	switch { // without a doubt by now, the Snapshot that has told it is gone since
	case d.why != "":
	case taken:
		d.why = doubtTaken
	case gone:
		d.why = doubtGone
	case proved && unproved(repository):
		d.why = doubtUnproved
	}
	d.taken, d.gone = d.taken || taken, d.gone || gone
	return d
}

// unproved reports whether the last init Job did not prove the Repository, or none has ended since a doubt.
func unproved(repository *v1alpha1.Repository) bool {
	c := conditions.Get(repository, v1alpha1.ConditionRepositoryInitialized)
	return c != nil && c.Status != metav1.ConditionTrue
}

// remember notes that a Repository is gone, or that its directory belongs to another one, until an init Job proves a
// directory. Any other trouble can replace what the condition Ready says, and whatever has told of it can go.
func (r *Reconciler) remember(repository *v1alpha1.Repository, d doubts) {
	status := &repository.Status
	if status.InitializedSpec == "" {
		return
	}
	now := metav1.NewTime(r.Clock.Now())
	if d.taken && status.TakenTime == nil {
		status.TakenTime = &now
	}
	if d.gone && status.GoneTime == nil {
		status.GoneTime = &now
	}
}

// isGone reports whether a reason says that a repository, its bucket or its directory is gone.
func isGone(reason string) bool {
	return reason == v1alpha1.ReasonRepositoryNotFound || reason == v1alpha1.ReasonBucketNotFound
}

// foundGone reports whether a keeper found that the repository is gone.
func foundGone(repository *v1alpha1.Repository, condition string) bool {
	return conditions.IsFalse(repository, condition) && isGone(conditions.GetReason(repository, condition))
}

// foundTaken reports whether a keeper found that the directory belongs to another Repository or cluster.
func foundTaken(repository *v1alpha1.Repository, condition string) bool {
	return conditions.IsFalse(repository, condition) &&
		conditions.GetReason(repository, condition) == v1alpha1.ReasonDirectoryTaken
}

// forgetDoubts removes what keepers found while the directory belonged to another one, or was gone: they find anew what
// it is.
func forgetDoubts(repository *v1alpha1.Repository) {
	for _, condition := range kept {
		if foundTaken(repository, condition) || foundGone(repository, condition) {
			conditions.Delete(repository, condition)
		}
	}
}
