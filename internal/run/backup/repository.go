package backup

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
)

// FreezeRepository freezes a Repository of a target for a run whose Snapshot there has this name, or explains why the
// run can't use it and how long that can still pass by itself. c is the target's complete configuration, info the
// repository in it, and driver the driver of the task. The encryption Secret of the Repository counts, whatever policy
// says by now: the data is where it is.
func FreezeRepository(
	c *v1alpha1.BackupConfiguration, repo *v1alpha1.Repository, info *v1alpha1.RepositoryInfo, driver v1alpha1.Driver,
	snapshot string,
) (*v1alpha1.ResolvedRepository, *v1alpha1.ResolvedError, time.Duration) {
	refuse := func(wait time.Duration, reason, format string, args ...any) (
		*v1alpha1.ResolvedRepository, *v1alpha1.ResolvedError, time.Duration,
	) {
		message := "Repository " + repo.Name + " " + fmt.Sprintf(format, args...)
		return nil, &v1alpha1.ResolvedError{Reason: reason, Message: message}, wait
	}
	if refusal := refuseOther(c, repo, info, driver); refusal != nil {
		return nil, refusal, 0
	}
	if repo.Spec.AppRef.Name == "" {
		return refuse(run.WaitForRepository, v1alpha1.ReasonRepositoryNotReady,
			"has no target yet: BackupConfiguration %s takes it", c.Name)
	}
	if !repo.DeletionTimestamp.IsZero() {
		return refuse(0, v1alpha1.ReasonRepositoryNotReady, "is being deleted")
	}
	if !run.IsReady(repo) {
		reason, message, wait := run.WhyNotReady(repo)
		return nil, &v1alpha1.ResolvedError{Reason: reason, Message: message}, wait
	}
	out := &v1alpha1.ResolvedRepository{
		Name: repo.Name, UID: repo.UID, Snapshot: snapshot,
	}
	if driver == v1alpha1.DriverVolumeSnapshotter {
		return out, nil, 0
	}
	out.StorageRef, out.EncryptionSecret = repo.Spec.StorageRef, repo.Spec.EncryptionSecret
	out.Directory = policy.NormalizeDirectory(repo.Spec.Path)
	out.StorageRef.Namespace = cmp.Or(out.StorageRef.Namespace, c.Namespace)
	out.EncryptionSecret.Namespace = cmp.Or(out.EncryptionSecret.Namespace, c.Namespace)
	return out, nil, 0
}

// refuseOther explains why a run can't use a Repository that is not the one that its configuration asks for. It returns
// nil for the right one.
func refuseOther(
	c *v1alpha1.BackupConfiguration, repo *v1alpha1.Repository, info *v1alpha1.RepositoryInfo, driver v1alpha1.Driver,
) *v1alpha1.ResolvedError {
	wanted := policy.RepositoryOf(c, info, driver)
	difference := policy.CompareRepositoryOfRun(repo, wanted)
	known := func(b v1alpha1.BackendReference) bool { return b.Name == info.Backend }
	switch {
	case difference == policy.SameRepository, difference == policy.OtherSecret: // the Secret of the Repository counts
		return nil
	case difference == policy.OtherPlace && !slices.ContainsFunc(c.Spec.Backends, known):
		return &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonBackendNotFound,
			Message: fmt.Sprintf("BackupConfiguration %s has no backend %q", c.Name, info.Backend),
		}
	}
	return &v1alpha1.ResolvedError{
		Reason:  v1alpha1.ReasonRepositoryConflict,
		Message: policy.DifferenceMessage(difference, repo, wanted),
	}
}
