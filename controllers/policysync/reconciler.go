package policysync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/controller"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/kube/share"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/source"
)

const (
	// driftInterval is the interval at which the objects are compared with Git even if nothing is new.
	driftInterval = 10 * time.Minute
	// defaultInterval and defaultTimeout apply to objects that were created before the CRD had these defaults.
	defaultInterval = time.Minute
	defaultTimeout  = time.Minute
	// overtakenRetry is the delay after which a reconcile starts anew. The cache needs a moment to see the change.
	overtakenRetry = time.Second
	// shareRetry is the delay after which a PolicySync asks for a worker again.
	shareRetry = time.Second
	// statusManager is the field manager of the status.
	statusManager = "cairn-manager"
)

// Reconciler reconciles PolicySyncs. All fields up to Clock are required.
type Reconciler struct {
	client.Client
	// APIReader reads Secrets, ServiceAccounts and Repositories past the cache.
	APIReader     client.Reader
	Scheme        *runtime.Scheme
	EventRecorder record.EventRecorder
	Clock         clock.PassiveClock
	// Metrics can be zero: then none are recorded.
	Metrics controller.Metrics
	// RESTConfig connects the clients that apply objects. They impersonate the account that a PolicySync names. If it
	// is nil, SetupWithManager takes the manager's.
	RESTConfig *rest.Config
	// WorkDir holds checkouts while they are built. If it is empty, the system's directory for temporary files is used.
	WorkDir string
	// Egress decides to which servers PolicySyncs can connect. Nil has the built-in rules.
	Egress *egress.Policy
	// Administrators are the namespaces in which the number of PolicySyncs has no limit.
	Administrators policy.Administrators
	// Jitter spreads requeues. If it is nil, they spread by a twentieth in both directions.
	Jitter func(time.Duration) time.Duration
	// ClassWait limits the wait until the stale objects of one class are gone, before the next class is deleted. 0
	// means 20 seconds.
	ClassWait time.Duration

	passes  store[lastPass]
	applied store[map[key]fingerprint] // what each PolicySync applied
	inForce store[appliedRevision]
	workers *share.Share // nil has no limit
}

// Reconcile makes the cluster match the repository.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	start := r.Clock.Now()
	obj := &v1alpha1.PolicySync{}
	if err := r.Get(ctx, req.NamespacedName, obj); err != nil {
		r.passes.forget(req.NamespacedName)
		r.applied.forget(req.NamespacedName)
		r.inForce.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if logs.LeavesRecord(ctx, obj) {
		return ctrl.Result{}, nil
	}
	release := r.workers.Take(req.Namespace)
	if release == nil {
		ctrl.LoggerFrom(ctx).V(1).Info("waits for a worker: others of its namespace have their share")
		return ctrl.Result{RequeueAfter: r.jittered(shareRetry)}, nil
	}
	defer release()
	s := &reconciling{Reconciler: r, obj: obj, before: obj.DeepCopy(), patcher: r.writer().NewPatcher(obj).Exclusive()}
	defer func() {
		// Not with the reconcile's own deadline: the status must be written even if the reconcile took too long.
		result, err = s.end(ctx, result, err)
		r.Metrics.RecordSuspend(ctx, obj, obj.Spec.Suspend)
		r.Metrics.RecordReadiness(ctx, obj)
		r.Metrics.RecordDuration(ctx, obj, start)
	}()
	if !obj.DeletionTimestamp.IsZero() {
		return s.finalize(ctx)
	}
	s.forgetConsent()
	s.forgetBranch()
	controllerutil.AddFinalizer(obj, v1alpha1.FinalizerPrune)
	if obj.Spec.Suspend {
		ctrl.LoggerFrom(ctx).V(1).Info("nothing to do: the PolicySync is suspended")
		s.suspended()
		return ctrl.Result{}, nil
	}
	return s.sync(ctx), nil
}

// end writes the status. If somebody else has written to the PolicySync since it was read, for example a process that
// got the lease meanwhile, what this reconcile found out is outdated: it is thrown away, and the next one starts anew.
func (s *reconciling) end(ctx context.Context, result ctrl.Result, failed error) (ctrl.Result, error) {
	err := s.write(ctx)
	if s.overtaken || apierrors.IsConflict(err) {
		s.passes.forget(client.ObjectKeyFromObject(s.obj))
		ctrl.LoggerFrom(ctx).V(1).Info("waits to start anew, because the PolicySync has changed meanwhile")
		return ctrl.Result{RequeueAfter: overtakenRetry}, failed
	}
	if err == nil {
		s.announceChange()
	}
	return result, errors.Join(failed, err)
}

func (r *Reconciler) writer() status.Writer {
	return status.Writer{
		Client: r.Client, Events: r.EventRecorder, Owner: statusManager, Kind: v1alpha1.PolicySyncKind,
	}
}

// reconciling is the state of one reconcile.
type reconciling struct {
	*Reconciler
	obj     *v1alpha1.PolicySync
	before  *v1alpha1.PolicySync
	patcher *status.Patcher
	// inventory holds the entries of the inventory of obj.
	inventory []v1alpha1.ResourceRef

	// verified holds who has signed the revision that was fetched last.
	verified *source.Signers

	mu        sync.Mutex
	checked   time.Time // when the PolicySync was last found unchanged
	overtaken bool      // somebody else has written to the PolicySync
}

// sync looks for a new revision and makes a pass if there is one.
func (s *reconciling) sync(ctx context.Context) ctrl.Result {
	timeout := defaultTimeout
	if s.obj.Spec.Timeout != nil && s.obj.Spec.Timeout.Duration > 0 {
		timeout = s.obj.Spec.Timeout.Duration
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !s.obj.Spec.Prune { // nothing is to be deleted, however this reconcile ends
		conditions.Delete(s.obj, v1alpha1.ConditionDeletionBlocked)
	}
	if s.obj.Spec.Verify == nil {
		s.obj.Status.SourceVerificationMode = ""
		conditions.Delete(s.obj, v1alpha1.ConditionSourceVerified)
	}
	if f := s.checkNumber(ctx); f != nil {
		return s.fail(ctx, f)
	}
	if f := s.recordsBranch(ctx, s.Client); f != nil {
		return s.fail(ctx, f)
	}
	origin, err := s.origin(ctx)
	if err == nil {
		origin.foundAt = s.Clock.Now()
		origin.revision, err = source.Resolve(ctx, s.obj.Spec.URL, origin.ref, origin.auth)
		origin.knownAt = s.Clock.Now()
	}
	if err != nil {
		f := sourceFault(err)
		if errors.Is(err, source.ErrSecret) {
			f.message = s.secretName() + f.message
		}
		return s.fail(ctx, f)
	}
	if last, ok := s.upToDate(origin); ok && (last.foreign == nil || s.stillForeign(ctx, *last.foreign)) {
		last.restore(s.obj)
		s.fetched()
		ctrl.LoggerFrom(ctx).V(1).Info("nothing to do: the revision has not changed", "revision", last.revision,
			"reason", conditions.GetReason(s.obj, meta.ReadyCondition))
		return ctrl.Result{RequeueAfter: s.jittered(s.interval())}
	}
	if f := s.claimBranch(ctx); f != nil {
		return s.fail(ctx, f)
	}
	request, _ := meta.ReconcileAnnotationValue(s.obj.Annotations)
	fault := s.pass(ctx, origin)
	s.obj.Status.ObservedGeneration = s.obj.Generation
	if request != "" {
		s.obj.Status.SetLastHandledReconcileRequest(request)
	}
	if fault != nil {
		result := s.fail(ctx, fault)
		if fault.stalled {
			s.remember(origin, fault)
		} else { // an earlier pass over this revision is outdated
			s.passes.forget(client.ObjectKeyFromObject(s.obj))
		}
		if fault.early {
			s.keep(ctx, origin)
		}
		return result
	}
	s.remember(origin, nil)
	return ctrl.Result{RequeueAfter: s.jittered(s.interval())}
}

// recordsBranch returns a fault if a Ledger keeps the PolicySync from its branch: what the manager has written is no
// policy. What the PolicySync has read of the branch proves nothing then.
func (s *reconciling) recordsBranch(ctx context.Context, reader client.Reader) *fault {
	if ledger.FetchedFrom(s.obj) == "" {
		return nil
	}
	var all v1alpha1.LedgerList
	if err := reader.List(ctx, &all); err != nil && !apierrors.IsNotFound(err) {
		return applyFault(ctx, fmt.Errorf("list Ledgers: %w", err), nil)
	}
	for i := range all.Items {
		l := &all.Items[i]
		refuses, waits := ledger.Refuses(l, s.obj)
		if !refuses && !waits {
			continue
		}
		s.obj.Status.LastFetchedFrom = ""
		name := "a Ledger of this cluster" // of other namespaces, whoever reads this may see nothing
		if l.Namespace == s.obj.Namespace {
			name = v1alpha1.LedgerKind + "/" + l.Namespace + "/" + l.Name
		}
		branch := ledger.Branch(s.obj)
		if waits {
			return &fault{reason: v1alpha1.ReasonRecordsBranch, message: fmt.Sprintf(
				"%s is about to push to the branch %s of this repository: Cairn waits for the result", name, branch)}
		}
		return &fault{reason: v1alpha1.ReasonRecordsBranch, stalled: true, message: fmt.Sprintf(
			"%s pushes to the branch %s of this repository, and records are no policy: choose another spec.ref.branch",
			name, branch)}
	}
	return nil
}

// claimBranch writes to the status that the PolicySync has read its branch, and looks again for a Ledger. A Ledger
// writes that it is about to push before it looks for a PolicySync, so one of the two always sees the other.
func (s *reconciling) claimBranch(ctx context.Context) *fault {
	s.fetched()
	if s.obj.Status.LastFetchedFrom != s.before.Status.LastFetchedFrom {
		if err := s.write(ctx); err != nil {
			return applyFault(ctx, err, nil)
		}
	}
	return s.recordsBranch(ctx, s.APIReader)
}

// fetched notes which branch the PolicySync has read.
func (s *reconciling) fetched() { s.obj.Status.LastFetchedFrom = ledger.FetchedFrom(s.obj) }

// forgetBranch forgets what the PolicySync has read elsewhere: a Ledger can push there since.
func (s *reconciling) forgetBranch() {
	if s.obj.Status.LastFetchedFrom != ledger.FetchedFrom(s.obj) {
		s.obj.Status.LastFetchedFrom = ""
	}
}

// origin is where policy comes from.
type origin struct {
	ref      source.Ref
	auth     source.Auth
	revision source.Revision
	// verify says what must be signed. It is nil if nothing must.
	verify *source.Verify
	// The Git server found the revision between these two times. It can take its time to answer.
	foundAt, knownAt time.Time
}

func (s *reconciling) origin(ctx context.Context) (origin, error) {
	o := origin{}
	if ref := s.obj.Spec.Ref; ref != nil {
		o.ref = source.Ref{Branch: ref.Branch, Tag: ref.Tag, Commit: ref.Commit}
	}
	url, err := source.ParseURL(s.obj.Spec.URL)
	if err != nil {
		return o, err
	}
	data, err := s.secret(ctx)
	if err != nil {
		return o, err
	}
	if o.auth, err = source.AuthFromSecretData(url, data); err != nil {
		return o, err
	}
	o.auth.Network = s.Egress
	o.verify, err = s.verification(ctx)
	return o, err
}

// trust identifies the trusted keys, "" if none are needed.
func (o origin) trust() string {
	if o.verify == nil {
		return ""
	}
	return o.verify.Keys.Digest()
}

// upToDate reports whether the last pass of this process did everything for a revision, with the same trusted keys.
func (s *reconciling) upToDate(o origin) (lastPass, bool) {
	last, ok := s.passes.get(client.ObjectKeyFromObject(s.obj))
	request, _ := meta.ReconcileAnnotationValue(s.obj.Annotations)
	return last, ok &&
		last.uid == s.obj.UID &&
		last.revision == o.revision.String() && last.trust == o.trust() &&
		last.revision == s.obj.Status.LastAttemptedRevision &&
		last.generation == s.obj.Generation &&
		s.obj.Generation == s.obj.Status.ObservedGeneration &&
		(request == "" || request == s.obj.Status.GetLastHandledReconcileRequest()) &&
		!s.awaited() && (last.awaits == "" || last.awaits != s.given()) &&
		s.Clock.Since(last.at) < driftInterval
}

// remember keeps how a pass ended: with a fault, or without.
func (s *reconciling) remember(o origin, f *fault) {
	last := lastPass{
		uid: s.obj.UID, at: s.Clock.Now(), revision: o.revision.String(), trust: o.trust(),
		generation: s.obj.Generation,
		conditions: append(s.obj.Status.Conditions[:0:0], s.obj.Status.Conditions...),
	}
	if f != nil {
		last.foreign, last.awaits = f.foreign, f.awaits
	}
	s.passes.put(client.ObjectKeyFromObject(s.obj), last)
}

func (s *reconciling) interval() time.Duration {
	if d := s.obj.Spec.Interval.Duration; d > 0 {
		return d
	}
	return defaultInterval
}

func (s *reconciling) retryInterval() time.Duration {
	if d := s.obj.Spec.RetryInterval; d != nil && d.Duration > 0 {
		return d.Duration
	}
	return s.interval()
}

// suspended keeps the conditions of the last reconcile.
func (s *reconciling) suspended() {
	s.obj.Status.ObservedGeneration = s.obj.Generation
	conditions.Delete(s.obj, meta.ReconcilingCondition)
	for _, c := range s.obj.GetConditions() { // they hold for this generation too
		conditions.Set(s.obj, &c)
	}
	if ready := conditions.Get(s.obj, meta.ReadyCondition); ready == nil || ready.Status != "True" &&
		ready.Status != "False" {
		conditions.MarkFalse(s.obj, meta.ReadyCondition, v1alpha1.ReasonSuspended,
			"suspended before anything was applied: set spec.suspend to false")
	}
}

// write patches what changed, if anything.
func (s *reconciling) write(ctx context.Context) error {
	err := s.patcher.Patch(ctx, s.obj,
		meta.ReadyCondition, meta.ReconcilingCondition, meta.StalledCondition, v1alpha1.ConditionDeletionBlocked,
		v1alpha1.ConditionSourceVerified)
	if !s.obj.DeletionTimestamp.IsZero() {
		err = kerrors.FilterOut(err, apierrors.IsNotFound) // the finalizer is gone and with it the object
	}
	if err != nil {
		return fmt.Errorf("write status of PolicySync %s/%s: %w", s.obj.Namespace, s.obj.Name, err)
	}
	return nil
}
