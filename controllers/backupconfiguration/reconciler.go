// Package backupconfiguration reconciles BackupConfigurations: it checks them, makes their Repositories and keeps the
// CronJobs of their sessions. The children of batches are among them; they have no schedule of their own.
package backupconfiguration

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kstatus"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/trigger"
)

// Reconciler reconciles BackupConfigurations.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads from the API server. It is asked before anything is made, so that nobody's object is taken over.
	APIReader client.Reader
	// Clock tells the next slots.
	Clock clock.PassiveClock
	// MoverImage is the image of the CronJobs' pods.
	MoverImage string
	// FieldManager of what is applied.
	FieldManager string
	// EnsureTrigger makes the account of the CronJobs' pods in a namespace.
	EnsureTrigger func(ctx context.Context, namespace string) error
}

// Reconcile brings one BackupConfiguration's Repositories, CronJobs and status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	configuration := &v1alpha1.BackupConfiguration{}
	reporter := kstatus.Reporter{
		Client: r.Client, Events: r.EventRecorder, FieldManager: r.FieldManager,
		Owned: []string{v1alpha1.ConditionValidationPassed},
	}
	return reporter.Reconcile(ctx, req.NamespacedName, configuration, func(ctx context.Context) (ctrl.Result, error) {
		return r.reconcile(ctx, configuration)
	})
}

// reconcile does the work and sets the status. An error is one that trying again may mend; the status keeps its last word.
func (r *Reconciler) reconcile(ctx context.Context, configuration *v1alpha1.BackupConfiguration) (ctrl.Result, error) {
	found := findings{}
	for _, m := range policy.ConfigurationMistakes(configuration) {
		found.invalid(m.Reason, m.Field+": "+m.Message)
	}
	status := &configuration.Status
	// What is asked next follows references that a spec with mistakes may lack.
	if len(found.all) == 0 {
		if err := r.check(ctx, configuration, &found); err != nil {
			return ctrl.Result{}, err
		}
	}

	sessions := policy.ConfigurationSessions(configuration)
	keeper := r.keeper()
	var conflicts, unscheduled map[string]error
	if found.anyInvalid() {
		// The last good CronJobs stay in force, except those of sessions that policy has removed.
		if err := keeper.Prune(ctx, configuration, sessions); err != nil {
			return ctrl.Result{}, err
		}
		unscheduled = trigger.Untouched(sessions)
	} else {
		var err error
		if conflicts, err = keeper.Ensure(ctx, configuration, sessions); err != nil {
			return ctrl.Result{}, err
		}
		unscheduled = conflicts
	}
	for _, session := range sessions {
		if err := conflicts[session.Name]; err != nil {
			found.notReady(v1alpha1.ReasonNameConflict, err.Error())
		}
	}

	now := r.Clock.Now()
	statuses, next := trigger.Status(status.Sessions, sessions, unscheduled, now, configuration.Generation)
	status.Sessions = statuses
	status.ObservedGeneration = configuration.Generation
	summarize(configuration, &found)
	return ctrl.Result{RequeueAfter: trigger.After(now, next, conflicts)}, nil
}

// check follows the references of a configuration that is right in itself.
func (r *Reconciler) check(ctx context.Context, configuration *v1alpha1.BackupConfiguration, findings *findings) error {
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
	return r.ensureRepositories(ctx, configuration, usable, findings)
}

func (r *Reconciler) keeper() *trigger.Keeper {
	return &trigger.Keeper{
		Client: r.Client, Reader: r.APIReader, MoverImage: r.MoverImage, FieldManager: r.FieldManager, EnsureAccess: r.EnsureTrigger,
	}
}

// describe names an object for a sentence.
func describe(kind, namespace, name string) string {
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}
