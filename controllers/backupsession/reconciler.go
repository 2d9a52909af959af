// Package backupsession carries a BackupSession from its creation to exactly one terminal phase. internal/run/backup
// decides what to do next; this package observes, asks for the decision and carries it out, in an order in which every
// step can be repeated.
//
// A Reconciler is safe for concurrent use; a mutex serializes the starts of runs that must not start beside each other.
// Invariants: a run ends the same way wherever the manager is killed (TestKilledAtAnyWrite), the outcome of an ended
// run never changes (TestARunSucceeds), and a frozen run ignores later changes of policy (TestWhatWasFrozenStays).
package backupsession

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/oneshot"
	"github.com/cairn-backup/cairn/internal/kube/selection"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// Reconciler reconciles BackupSessions. Its fields are set before SetupWithManager and never change.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads past the cache.
	APIReader client.Reader
	// Scheme of the client.
	Scheme *runtime.Scheme
	// Clock measures deadlines.
	Clock clock.PassiveClock
	// MoverImage is the value of ${moverImage} in a Function.
	MoverImage string
	// ClusterUID is the UID of the namespace kube-system.
	ClusterUID string
	// Egress decides to which servers movers can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// ClusterName begins the directories of repositories for which policy names no directory.
	ClusterName string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
	// FieldManager owns all writes.
	FieldManager string
	// Hooks runs the hooks of the sessions.
	Hooks *hookexec.Hooks

	refused   logs.Once        // the Snapshots of runs that were logged as refused
	pauses    movers.Pauses    // hold the Snapshots that, or whose copies and Jobs, were refused
	deletions movers.Deletions // are those that the API server refuses

	// starting serializes starts. A run that must not start beside its rivals or beside other runs with hooks holds it
	// from its look at those runs until its start is written.
	starting oneshot.StartLock

	// taking serializes in each namespace the Jobs that mount a volume which one pod can mount: who has the turn looks
	// for other ones, and creates its own.
	taking turns

	// selection reads the objects that the selectors of batches find.
	selection selection.Reader
}

// Reconcile takes a BackupSession as far as possible now.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	return oneshot.Reconciler[v1alpha1.BackupSession, *v1alpha1.BackupSession, backup.Input]{
		Writer: r.writer(), Live: r.APIReader, Hooks: r.Hooks, Kind: kind{r},
		Clock: r.Clock, Pauses: &r.pauses, Deletions: &r.deletions,
	}.Reconcile(ctx, req)
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: r.FieldManager, Kind: v1alpha1.BackupSessionKind,
	}
}

// kind is what BackupSessions do in their own way.
type kind struct{ *Reconciler }

// Start holds a run and looks up what it needs. A run that must not start beside its rivals, or beside other
// runs with hooks, holds a lock until its start is written.
func (r kind) Start(ctx context.Context, s *v1alpha1.BackupSession) (backup.Input, func(), error) {
	release := func() {}
	in := backup.Input{Now: r.Clock.Now(), Session: s, Start: &backup.Start{}}
	if s.DeletionTimestamp != nil {
		return in, release, nil
	}
	start, invoker, err := r.lookUp(ctx, s)
	if err != nil {
		return in, release, err
	}
	if err := r.adopt(ctx, s, invoker); err != nil {
		return in, release, err
	}
	in.Start = start
	if !start.Rivals.Judged() && !start.HasHooks() {
		return in, release, r.missing(ctx, in)
	}
	release, err = r.starting.Take(func() error {
		if err := r.others(ctx, s, invoker, start); err != nil {
			return err
		}
		return r.missing(ctx, in)
	})
	return in, release, err
}

// Refuse ends a run whose status the API server does not accept.
func (kind) Refuse(in backup.Input, refusal *v1alpha1.ResolvedError) backup.Input {
	in.Start = &backup.Start{Refused: refusal}
	return in
}

// Observe reads everything that the next step depends on, and creates missing Snapshots. If a Snapshot can't be
// created, it adds the reason to refused.
func (r kind) Observe(
	ctx context.Context, reader client.Reader, s *v1alpha1.BackupSession, refused movers.Refusals, look bool,
) (backup.Input, error) {
	in := backup.Input{Now: r.Clock.Now(), Session: s, Refused: refused, Hooks: r.Hooks.Results(s.UID)}
	var err error
	if in.Snapshots, err = r.snapshots(ctx, reader, s, refused); err != nil {
		return in, err
	}
	if in.Jobs, in.Pods, err = movers.Observe(ctx, reader, s, v1alpha1.LabelBackupSession, in.Now); err != nil {
		return in, err
	}
	if err := movers.FindRoom(ctx, reader, s.Namespace, in.Jobs, in.Now); err != nil {
		return in, err
	}
	if in.Copies, err = r.copies().Observe(ctx, s, in.Now); err != nil {
		return in, err
	}
	if err := r.observeSidecars(ctx, &in); err != nil {
		return in, err
	}
	if err := movers.Explain(ctx, r.APIReader, s.Namespace, in.Jobs); err != nil || !look {
		return in, err
	}
	in.VolumeSnapshots, err = r.volumeSnapshots(ctx, s)
	return in, err
}

// Decide decides what to do next.
func (r kind) Decide(in backup.Input) oneshot.Decision[v1alpha1.BackupSession] {
	d := backup.Next(in)
	return oneshot.Decision[v1alpha1.BackupSession]{
		Base:      &d.Base,
		SetStatus: func(s *v1alpha1.BackupSession) { s.Status = d.Status },
		CarryOut: func(ctx context.Context, refused movers.Refusals) error {
			if in.Start != nil {
				return r.replace(ctx, in.Session, in.Start.Rivals.Runs, d.Replace)
			}
			return r.carryOut(ctx, in, &d, refused)
		},
		CleanUp: func() []movers.Deletion { return r.cleanUp(in, &d) },
	}
}

// carryOut carries out a decision about a frozen run, except for the status and the clean-up.
func (r *Reconciler) carryOut(
	ctx context.Context, in backup.Input, d *backup.Decision, refused movers.Refusals,
) error {
	if err := r.writeSnapshots(ctx, in, *d); err != nil {
		return err
	}
	if err := r.writeCopies(ctx, in, *d, refused); err != nil {
		return err
	}
	return r.writeJobs(ctx, in, d, refused)
}

// Close releases an ended run, and retries its failed targets once that is due.
func (r kind) Close(ctx context.Context, s *v1alpha1.BackupSession) (time.Duration, error) {
	r.refused.Forget(s.UID)
	if err := oneshot.Release(ctx, r.writer(), s); err != nil {
		return 0, err
	}
	return r.retry(ctx, s)
}

// adopt gives a new session its finalizers, its labels, the note of its UID and, if its invoker exists, its owner. A
// copy keeps the note of another UID. A name that is no valid label value belongs to no invoker and no session: the
// session ends without that label.
func (r *Reconciler) adopt(ctx context.Context, s *v1alpha1.BackupSession, invoker client.Object) error {
	before := s.DeepCopy()
	oneshot.AddFinalizers(s)
	if s.Annotations[v1alpha1.AnnotationRun] == "" {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, v1alpha1.AnnotationRun, string(s.UID))
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	for label, value := range map[string]string{
		v1alpha1.LabelInvokerKind: s.Spec.Invoker.Kind,
		v1alpha1.LabelInvokerName: policy.LabelValue(s.Spec.Invoker.Name),
		v1alpha1.LabelSession:     s.Spec.Session,
	} {
		if len(validation.IsValidLabelValue(value)) == 0 {
			s.Labels[label] = value
		}
	}
	// A run that another object controls goes with that object.
	if owner := metav1.GetControllerOf(s); invoker != nil && (owner == nil || isInvoker(owner, s)) {
		if err := controllerutil.SetControllerReference(invoker, s, r.Scheme); err != nil {
			return fmt.Errorf("set owner of BackupSession %s: %w", s.Name, err)
		}
	}
	return r.writer().Object(ctx, before, s)
}

func isInvoker(owner *metav1.OwnerReference, s *v1alpha1.BackupSession) bool {
	group, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && group.Group == v1alpha1.Group && owner.Kind == s.Spec.Invoker.Kind &&
		owner.Name == s.Spec.Invoker.Name
}
