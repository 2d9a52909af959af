package backupconfiguration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/apply"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/index"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
)

// ensureRepositories creates the missing Repositories in usable backends, and reports on all Repositories. Nothing owns
// a Repository, and nothing but a missing target changes once it exists. A failure of one Repository does not hold up
// the others.
func (r *Reconciler) ensureRepositories(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, drivers map[string]v1alpha1.Driver,
	usable map[string]bool, findings *findings,
) error {
	var statuses []v1alpha1.RepoStatus
	var failed []error
	seen := map[string]bool{}
	for i := range configuration.Spec.Sessions {
		for j := range configuration.Spec.Sessions[i].Repositories {
			info := &configuration.Spec.Sessions[i].Repositories[j]
			if seen[info.Name] {
				continue
			}
			seen[info.Name] = true
			driver := drivers[info.Name]
			// The driver never changes later: without its task a Repository is not created.
			makes := driver == v1alpha1.DriverVolumeSnapshotter || driver != "" && usable[info.Backend]
			status, found, err := r.ensureRepository(ctx, configuration, info, driver, makes, findings)
			if trigger.Refused(err) {
				findings.refused = append(findings.refused, err)
				status.Reason = v1alpha1.ReasonReconcileFailed
			} else if err != nil {
				failed = append(failed, err)
			}
			if found != nil {
				findings.add(*found)
			}
			statuses = append(statuses, status)
		}
	}
	configuration.Status.Repositories = statuses
	return errors.Join(failed...)
}

func (r *Reconciler) ensureRepository(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, info *v1alpha1.RepositoryInfo,
	driver v1alpha1.Driver, makes bool, findings *findings,
) (v1alpha1.RepoStatus, *finding, error) {
	status := v1alpha1.RepoStatus{Name: info.Name, Phase: v1alpha1.PhaseNotReady}
	wanted := policy.RepositoryOf(configuration, info, driver)
	actual, err := defaults.Repository(ctx, client.ObjectKeyFromObject(wanted), r.Client, r.APIReader)
	if err != nil {
		return status, nil, err
	}
	if actual != nil {
		if message := difference(actual, wanted); message != "" {
			status.Reason = v1alpha1.ReasonRepositoryConflict
			return status, &finding{reason: status.Reason, invalid: true, message: message}, nil
		}
	}
	judged := wanted
	if actual != nil {
		judged = actual
	}
	refusal, err := r.directoryRefusal(ctx, judged)
	if err != nil {
		return status, nil, err
	}
	if refusal != nil {
		status.Reason = refusal.reason
		return status, refusal, nil
	}
	if actual == nil {
		if !makes {
			status.Reason = v1alpha1.ReasonStorageNotReady
			if driver == "" {
				status.Reason = v1alpha1.ReasonRepositoryNotReady
			}
			return status, nil, nil // The finding about the backend or the Addon gives the reason.
		}
		if err := apply.Object(ctx, r.Client, r.FieldManager, wanted); err != nil {
			return status, nil, err
		}
		actual = wanted
	}
	if err := r.binder().Name(ctx, actual, configuration); err != nil {
		return status, nil, err
	}
	if conditions.IsTrue(actual, v1alpha1.ConditionVolumeSnapshotsAtRisk) {
		findings.atRisk = append(findings.atRisk, "Repository "+actual.Name+": "+
			conditions.GetMessage(actual, v1alpha1.ConditionVolumeSnapshotsAtRisk))
	}
	if actual.Spec.AppRef.Name == "" {
		if err := r.take(ctx, actual, wanted); err != nil {
			return status, nil, err
		}
	}
	status, unready := statusOf(actual, wanted.Namespace)
	return status, unready, nil
}

// directoryRefusal returns why a Repository must not have its directory, or nil. It says nothing about a storage that
// does not exist or that the namespace is not allowed to use: the check of the backends does, and who has no right to a
// storage hears nothing about the directories of others in it.
func (r *Reconciler) directoryRefusal(ctx context.Context, judged *v1alpha1.Repository) (*finding, error) {
	if policy.HoldsVolumeSnapshots(judged) {
		return nil, nil
	}
	storage, err := defaults.Storage(ctx, r.Client, judged.Namespace, judged.Spec.StorageRef)
	if err != nil || storage == nil {
		return nil, err
	}
	err = access.AllowedRepository(ctx, r.Client, storage, r.ClusterName, judged)
	if reason, message, refused := access.ReasonOf(err); refused {
		if reason != v1alpha1.ReasonDirectoryNotAllowed {
			return nil, nil
		}
		return &finding{reason: reason, invalid: true, message: message}, nil
	}
	if err != nil {
		return nil, err
	}
	elder, err := directories.Elder(ctx, r.Client, r.ClusterName, judged)
	if err != nil || elder == nil {
		return nil, err
	}
	return &finding{reason: v1alpha1.ReasonDirectoryTaken, invalid: true, message: fmt.Sprintf(
		"the directory %q can't be used: %s. Choose another directory", judged.Spec.Path,
		index.Taken(judged, elder))}, nil
}

// statusOf returns the status of a Repository that exists, with a finding if the Repository is not ready.
func statusOf(actual *v1alpha1.Repository, namespace string) (v1alpha1.RepoStatus, *finding) {
	status := v1alpha1.RepoStatus{Name: actual.Name, Phase: v1alpha1.PhaseNotReady}
	if actual.Status.Phase != "" {
		status.Phase = actual.Status.Phase
	}
	if conditions.IsReady(actual) {
		return status, nil
	}
	status.Reason = v1alpha1.ReasonRepositoryNotReady
	if reason := conditions.GetReason(actual, meta.ReadyCondition); reason != "" {
		status.Reason = reason
	}
	name := describe(v1alpha1.RepositoryKind, namespace, actual.Name)
	message := name + " is not ready: " + whyNotReady(actual, v1alpha1.RepositoryKind)
	if status.Reason == v1alpha1.ReasonStorageNotReady {
		message = name + " waits for its BackupStorage"
	}
	return status, &finding{reason: v1alpha1.ReasonRepositoryNotReady, message: message}
}

// whyNotReady gives the reason why an object is not ready, and the command that shows more. It does not repeat the
// message: that can name what readers of another namespace are not to know, and each change would be a write here.
func whyNotReady(o conditions.Getter, kind string) string {
	reason := conditions.GetReason(o, meta.ReadyCondition)
	if reason == "" {
		return "Cairn has not looked at it yet"
	}
	return fmt.Sprintf("%s: run kubectl describe %s %s -n %s", reason, strings.ToLower(kind), o.GetName(),
		o.GetNamespace())
}

// difference says how a Repository differs from the wanted one. It returns nothing if they are the same.
func difference(actual, wanted *v1alpha1.Repository) string {
	return policy.DifferenceMessage(policy.CompareRepository(actual, wanted), actual, wanted)
}

// take gives a Repository without a target the target of the configuration. From then on the target never changes.
func (r *Reconciler) take(ctx context.Context, repository, wanted *v1alpha1.Repository) error {
	before := repository.DeepCopy()
	repository.Spec.AppRef = wanted.Spec.AppRef
	err := r.writer().Object(ctx, before, repository)
	if err != nil {
		return err
	}
	return nil
}
