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
	doubtUnproved = "/unproved"
)

// doubtOf returns what speaks against a Repository since an init Job has proved it, or "". taken reports that the
// directory can belong to another Repository or cluster. It is only a doubt: the next init Job looks who the owner is,
// and takes the directory from nobody without that owner's name in the annotation. proved reports that an init Job has
// proved the Repository in its present place.
func doubtOf(repository *v1alpha1.Repository, counts counted, proved bool) (doubt string, taken bool) {
	if counts.doubtedBy != repository.Status.ProvedAfter {
		doubt, taken = counts.doubtedBy, counts.taken
	}
	for _, condition := range kept {
		if c := conditions.Get(repository, condition); foundTaken(repository, condition) {
			doubt, taken = doubt+"/"+condition+"/"+c.LastTransitionTime.UTC().Format(time.RFC3339), true
		}
	}
	lost := repository.Status.TakenTime != nil
	switch { // without a doubt by now, the Snapshot that has told it is gone since
	case doubt != "":
	case lost:
		doubt = doubtTaken
	case proved && unproved(repository):
		doubt = doubtUnproved
	}
	return doubt, taken || lost
}

// unproved reports whether the last init Job did not prove the Repository, or none has ended since a doubt.
func unproved(repository *v1alpha1.Repository) bool {
	c := conditions.Get(repository, v1alpha1.ConditionRepositoryInitialized)
	return c != nil && c.Status != metav1.ConditionTrue
}

// markTaken notes that the directory of a Repository belongs to another one, until an init Job proves a directory. Any
// other trouble can replace what the condition Ready says, and whatever has told of it can go.
func (r *Reconciler) markTaken(repository *v1alpha1.Repository) {
	if status := &repository.Status; status.TakenTime == nil && status.InitializedSpec != "" {
		status.TakenTime = new(metav1.NewTime(r.Clock.Now()))
	}
}

// foundTaken reports whether a keeper found that the directory belongs to another Repository or cluster.
func foundTaken(repository *v1alpha1.Repository, condition string) bool {
	return conditions.IsFalse(repository, condition) &&
		conditions.GetReason(repository, condition) == v1alpha1.ReasonDirectoryTaken
}

// forgetTaken removes what keepers found while the directory belonged to another one: they find anew what it is.
func forgetTaken(repository *v1alpha1.Repository) {
	for _, condition := range kept {
		if foundTaken(repository, condition) {
			conditions.Delete(repository, condition)
		}
	}
}
