// Package backupconfiguration reconciles BackupConfigurations: it checks them, creates their Repositories and keeps the
// CronJobs of their sessions. The children of BackupBatches are BackupConfigurations too; they have no schedule of
// their own.
//
// A Reconciler is safe for concurrent use: its reconciles share nothing but caches. Invariants: an invalid policy keeps
// the last good schedule (TestInvalidPolicyKeepsTheLastGoodSchedule), a Repository never changes once it exists, except
// that one without a target takes the target of its first policy
// (TestARepositoryOfTheUserTakesTheTargetOfItsFirstPolicy), and nothing is wiped because a namespace is deleted
// (TestNothingGoesWithANamespace).
package backupconfiguration

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/defaults"
	"github.com/cairn-backup/cairn/internal/kube/repositories"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/kube/trigger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/text"
)

// Reconciler reconciles BackupConfigurations.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server. The reconciler asks it before it creates an object, so that it takes over
	// nobody's object.
	APIReader client.Reader
	// Clock measures the slots of schedules.
	Clock clock.PassiveClock
	// MoverImage is the image of the CronJobs' pods.
	MoverImage string
	// FieldManager owns the fields that the reconciler applies.
	FieldManager string
	// ClusterName begins the directories of repositories for which policy names no directory.
	ClusterName string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
	// EnsureTrigger creates the ServiceAccount of the CronJobs' pods in a namespace.
	EnsureTrigger func(ctx context.Context, namespace string) error
	// Sidecars returns the state of a workload's sidecar. SidecarsChanged receives the BackupConfigurations whose
	// sidecar has changed.
	Sidecars func(
		ctx context.Context, namespace string, target v1alpha1.TypedObjectReference,
	) (*sidecar.State, error)
	SidecarsChanged <-chan event.GenericEvent
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.BackupConfigurationKind,
		Warnings: []status.Warning{
			{Condition: v1alpha1.ConditionVolumeSnapshotsAtRisk},
			{Condition: v1alpha1.ConditionRepositoriesRetained, EachMessage: true},
		},
	}
}

// Reconcile brings one BackupConfiguration's Repositories, CronJobs and status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	configuration := &v1alpha1.BackupConfiguration{}
	if done, result, err := r.bound(ctx, req, configuration); done || err != nil {
		return result, err
	}
	return r.writer().Reconcile(ctx, req.NamespacedName, configuration, func(ctx context.Context) (ctrl.Result, error) {
		return r.reconcile(ctx, configuration)
	})
}

// reconcile does the work and sets the status. A failure holds up nothing that does not need what failed. The status
// names what the API server refuses; beside another error it keeps the last state of what Cairn does not know.
func (r *Reconciler) reconcile(ctx context.Context, configuration *v1alpha1.BackupConfiguration) (ctrl.Result, error) {
	now, found := r.Clock.Now(), findings{}
	for _, m := range check.ConfigurationMistakes(configuration) {
		found.invalid(m.Reason, m.Field+": "+m.Message)
	}
	// The next checks follow references that a spec with mistakes can lack.
	if len(found.all) == 0 {
		found.unchecked = r.check(ctx, configuration, &found)
	}

	invalid := found.anyInvalid() || found.unchecked != nil && !trigger.KnownValid(configuration)
	conflicts, after, err := r.scheduler().Schedule(ctx, configuration, invalid, now)
	for _, session := range configuration.Spec.Sessions {
		if err := conflicts[session.Name]; err != nil {
			found.notReady(v1alpha1.ReasonNameConflict, err.Error())
		}
	}
	failed := errors.Join(append(found.refused, found.unchecked, err, r.setRetained(ctx, configuration, invalid))...)
	var others error
	if found.refused, others = trigger.Refusals(failed); others == nil || len(found.refused) > 0 {
		configuration.Status.ObservedGeneration = configuration.Generation
		summarize(configuration, &found, now)
	}
	if found.lookAgain && (after == 0 || after > missingInterval) {
		after = missingInterval
	}
	return trigger.Retry(ctx, after, failed)
}

// check completes a configuration without mistakes and follows its references.
func (r *Reconciler) check(ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings) error {
	completer := defaults.Completer{
		Reader: r.Client, Live: r.APIReader, ClusterName: r.ClusterName, Administrators: r.Administrators,
	}
	completion, err := completer.Configuration(ctx, configuration)
	if err != nil {
		return err
	}
	for _, m := range completion.Missing {
		findings.add(finding{
			reason: m.Reason, message: m.Field + ": " + m.Message,
			invalid: m.Reason == v1alpha1.ReasonRepositoryConflict,
		})
		// No watch reports the object that tells the type of the target's database: such objects are not watched.
		findings.lookAgain = findings.lookAgain || catalog.RevealsDatabaseType(*configuration.Spec.Target)
	}
	complete := completion.Configuration
	if err := r.checkComplete(ctx, complete, completion.Drivers, findings); err != nil {
		return err
	}
	configuration.Status = complete.Status
	configuration.Status.Dependencies = findings.dependencies
	configuration.Status.Resolved = completion.Resolved
	warn(configuration, findings)
	if len(completion.Changed) > 0 {
		conditions.MarkTrue(configuration, v1alpha1.ConditionResolvedBackendChanged,
			v1alpha1.ReasonDefaultsChanged, "%s",
			text.Join(completion.Changed)+
				". To move, name another repository in policy; existing backups stay where they are")
	} else {
		conditions.Delete(configuration, v1alpha1.ConditionResolvedBackendChanged)
	}
	return nil
}

// warn sets the condition VolumeSnapshotsAtRisk if a VolumeSnapshotClass of a Repository deletes the data with the
// VolumeSnapshots.
func warn(configuration *v1alpha1.BackupConfiguration, findings *findings) {
	const condition = v1alpha1.ConditionVolumeSnapshotsAtRisk
	if len(findings.atRisk) == 0 {
		conditions.Delete(configuration, condition)
		return
	}
	conditions.MarkTrue(configuration, condition, v1alpha1.ReasonVolumeSnapshotClassDeletes, "%s",
		text.Join(findings.atRisk))
}

// checkComplete follows the references of a completed configuration. drivers are the drivers of its repositories by
// name.
func (r *Reconciler) checkComplete(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, drivers map[string]v1alpha1.Driver,
	findings *findings,
) error {
	if err := r.checkTarget(ctx, configuration, findings); err != nil {
		return err
	}
	usable, err := r.checkBackends(ctx, configuration, findings)
	if err != nil {
		return err
	}
	if err := r.checkAddons(ctx, configuration, findings); err != nil {
		return err
	}
	if err := r.checkHooks(ctx, configuration, findings); err != nil {
		return err
	}
	if err := r.checkSecrets(ctx, configuration, usable, findings); err != nil {
		return err
	}
	if err := r.checkSidecar(ctx, configuration, findings); err != nil {
		return err
	}
	if err := r.checkCopies(ctx, configuration, findings); err != nil {
		return err
	}
	return r.ensureRepositories(ctx, configuration, drivers, usable, findings)
}

// setRetained lists the Repositories that the configuration has left behind. An invalid policy leaves the list as it
// is, and the batch of a child has its own.
func (r *Reconciler) setRetained(
	ctx context.Context, configuration *v1alpha1.BackupConfiguration, invalid bool,
) error {
	invoker := policy.InvokerOf(configuration)
	if invalid || invoker.Kind != v1alpha1.BackupConfigurationKind {
		return nil
	}
	retained, err := r.binder().Retained(ctx, configuration.Namespace, invoker,
		policy.ConfigurationRepositories(configuration))
	if err != nil {
		return err
	}
	configuration.Status.RetainedRepositories = retained
	repositories.SetRetained(configuration, retained)
	return nil
}

func (r *Reconciler) scheduler() *trigger.Scheduler {
	return &trigger.Scheduler{
		Client: r.Client, Reader: r.APIReader, Events: r.EventRecorder, Runs: runs,
		MoverImage: r.MoverImage, FieldManager: r.FieldManager, EnsureAccess: r.EnsureTrigger,
	}
}

// describe names an object for a message.
func describe(kind, namespace, name string) string {
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}
