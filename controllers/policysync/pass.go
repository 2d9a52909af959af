package policysync

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/room"
	"github.com/cairn-backup/cairn/internal/source"
	"github.com/cairn-backup/cairn/internal/text"
)

// pass fetches a revision and makes the cluster match it.
func (s *reconciling) pass(ctx context.Context, o origin) *fault {
	fault := s.readInventory()
	if fault != nil {
		return fault
	}
	a, built, live, fault := s.prepare(ctx, o)
	s.markVerified(o)
	if fault != nil {
		fault.early = true
		if fault.stalled {
			s.obj.Status.LastAttemptedRevision = o.revision.String()
		}
		return fault
	}
	wanted := inventoryOf(built.Objects)
	a.stays = append(slices.Clone(wanted), s.self())
	lacks := a.plan(ctx, s.stale(wanted))
	s.guard(o.revision.String(), lacks, live)
	p := &part{s, o.revision.String(), o.knownAt}
	p.markFirst(built.Objects)
	if fault := s.begin(ctx, o.revision.String(), union(wanted, lacks.left())); fault != nil {
		return fault
	}
	a.part = p
	changed, err := a.apply(ctx, built.Objects, live)
	if err != nil {
		fault := applyFault(ctx, err, built.Objects)
		fault.early = changed == 0
		return fault
	}
	a.part.end()
	if status := &s.obj.Status; status.LastAppliedRevision != o.revision.String() {
		status.LastAppliedRevision, status.LastAppliedTime = o.revision.String(), new(metav1.NewTime(o.foundAt))
	}
	s.obj.Status.LastAppliedSigner = s.signer()
	s.inForce.put(client.ObjectKeyFromObject(s.obj), appliedRevision{
		uid: s.obj.UID, at: s.Clock.Now(), revision: o.revision,
		generation: s.obj.Generation,
	})
	applied := passResult{
		revision: o.revision.String(), objects: len(built.Objects) - len(a.going), going: len(a.going),
		changed: changed,
	}
	if s.drifted(applied) {
		s.announceDrift()
	}
	message, fault := s.remove(ctx, a, applied, wanted, lacks)
	if fault = a.incomplete(message, fault); fault != nil {
		return fault
	}
	s.succeed(message)
	return nil
}

// maxWaits is the number of objects that are being deleted which a message names.
const maxWaits = 3

// incomplete returns how a pass ends that ended with a message, or with a fault, for everything that is not being
// deleted. The others are tried again, so a fault that would stay until something else changes does not.
func (a *applier) incomplete(message string, f *fault) *fault {
	if len(a.going) == 0 {
		return f
	}
	waits := strings.Join(a.waits[:min(len(a.waits), maxWaits)], "; ")
	if len(a.waits) > maxWaits {
		waits += "; and others"
	}
	if f != nil {
		return &fault{reason: f.reason, message: f.message + "; " + waits}
	}
	return &fault{reason: v1alpha1.ReasonReconcileFailed, message: waits + "; apart from that: " + message}
}

// remove deletes what is stale, unless the guard or the spec holds it back. It returns what to say if nothing failed.
func (s *reconciling) remove(
	ctx context.Context, a *applier, applied passResult, wanted []v1alpha1.ResourceRef, lacks *removal,
) (message string, f *fault) {
	message = "applied revision " + applied.revision
	switch {
	case !s.obj.Spec.Prune:
		s.logApplied(ctx, applied)
		return message, nil
	case lacks.held:
		applied.stale = len(lacks.left())
		s.logApplied(ctx, applied)
		return "", s.blocked(lacks)
	}
	pruned, fault := a.prune(ctx, lacks.goes)
	left := union(lacks.stays, pruned.left)
	applied.stale, applied.deleted = len(left), len(pruned.deleted)
	s.logApplied(ctx, applied)
	s.announceRemoved(ctx, applied.revision, pruned.deleted)
	if f := s.setInventory(union(wanted, left)); f != nil { // it is not larger than before
		return "", f
	}
	s.completeConsent()
	if fault == nil && lacks.failed != nil {
		fault = pruneFault(ctx, nil, lacks.failed)
	}
	if fault != nil {
		return "", fault
	}
	if kept := append(lacks.kept(), pruned.kept...); len(kept) > 0 {
		message += "; not deleted: " + strings.Join(kept, ", ")
	}
	return message, nil
}

// passResult is what one pass over a revision did. objects counts what was applied, and going what could not be applied
// because it is being deleted. deleted counts the objects whose deletion began, stale those that the revision lacks and
// that the inventory still holds.
type passResult struct {
	revision                                string
	objects, going, changed, deleted, stale int
}

// drifted reports whether a pass reverted edits by hand: it changed objects of the revision that was in force.
func (s *reconciling) drifted(p passResult) bool {
	return p.changed > 0 && s.before.Status.LastAppliedRevision == p.revision &&
		s.before.Status.ObservedGeneration == s.obj.Generation
}

// logApplied logs what a pass did. The regular look for edits by hand that finds none is no information.
func (s *reconciling) logApplied(ctx context.Context, p passResult) {
	log := ctrl.LoggerFrom(ctx).WithValues("revision", p.revision)
	unchanged := p.changed == 0 && p.deleted == 0 && s.before.Status.LastAppliedRevision == p.revision
	switch {
	case unchanged && p.stale > 0:
		log.V(1).Info("waits to delete what the revision lacks", "stale", p.stale)
	case unchanged && p.going > 0: // the fault at the end of the pass says so
	case unchanged:
		log.V(1).Info("nothing to do: all objects are as the revision says", "objects", p.objects)
	case p.deleted == 0 && s.drifted(p):
		log.Info("reapplied the revision in force", "changed", p.changed)
	default:
		if signer := s.signer(); signer != "" {
			log = log.WithValues("signer", signer)
		}
		log.Info("applied objects", "objects", p.objects, "changed", p.changed, "deleted", p.deleted)
	}
}

// announceRemoved names the objects whose deletion began in this pass: neither Git nor the inventory does any more. It
// is an event of its own, because the end of the pass can be another one.
func (s *reconciling) announceRemoved(ctx context.Context, revision string, removed []v1alpha1.ResourceRef) {
	if len(removed) == 0 {
		return
	}
	names := make([]string, len(removed))
	for i, ref := range removed {
		names[i] = describe(ref)
	}
	objects := text.FirstFew(names)
	ctrl.LoggerFrom(ctx).Info("deleted what the revision lacks", "revision", revision, "removed", objects)
	s.event(corev1.EventTypeNormal, v1alpha1.ReasonReconcileSucceeded, "deleted what revision "+revision+" lacks: "+
		objects)
}

// prepare does everything that comes before the first write.
func (s *reconciling) prepare(ctx context.Context, o origin) (*applier, *build.Result, liveObjects, *fault) {
	built, f := s.build(ctx, o)
	if f != nil {
		return nil, nil, nil, f
	}
	if f := s.guardLabels(ctx, built.Secrets); f != nil {
		f.message = "revision " + o.revision.String() + ": " + f.message
		return nil, nil, nil, f
	}
	a, f := s.applier(ctx)
	if f != nil {
		return nil, nil, nil, f
	}
	live, f := a.observe(ctx, built.Objects)
	if f == nil {
		f = a.guardSecrets(ctx, o.revision.String(), built.Objects, live)
	}
	return a, built, live, f
}

// keep reverts edits by hand to the revision in force while the revision of origin can't be applied, as rarely as a
// pass without news does. It neither prunes nor writes the status. A process that has not applied the revision in force
// itself does not know under which spec it was applied, and leaves it alone.
func (s *reconciling) keep(ctx context.Context, o origin) {
	name := client.ObjectKeyFromObject(s.obj)
	good, ok := s.inForce.get(name)
	if !ok || good.uid != s.obj.UID || good.generation != s.obj.Generation || good.revision == o.revision ||
		s.Clock.Since(good.at) < driftInterval {
		return
	}
	good.at = s.Clock.Now()
	s.inForce.put(name, good)
	o.revision = good.revision
	a, built, live, f := s.prepare(ctx, o)
	if f == nil {
		var changed int
		var err error
		if changed, err = a.apply(ctx, built.Objects, live); err == nil {
			if changed > 0 {
				ctrl.LoggerFrom(ctx).Info("reapplied the revision in force", "revision", good.revision.String(),
					"changed", changed)
				s.announceDrift()
			}
			return
		}
		f = applyFault(ctx, err, built.Objects)
	}
	ctrl.LoggerFrom(ctx).Info("could not revert edits by hand to the revision in force", "revision",
		good.revision.String(), "reason", f.reason, "error", f.message)
}

func (s *reconciling) announceDrift() {
	s.event(corev1.EventTypeNormal, v1alpha1.ReasonReconcileSucceeded,
		"reapplied objects that were changed or deleted by hand")
}

// build fetches a revision and turns its directory into objects.
func (s *reconciling) build(ctx context.Context, o origin) (*build.Result, *fault) {
	dir, err := os.MkdirTemp(s.WorkDir, "policysync-")
	if err != nil {
		return nil,
			&fault{reason: v1alpha1.ReasonGitOperationFailed, message: "create checkout directory: " + err.Error()}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	checkout := filepath.Join(dir, "checkout")
	_, signers, err := source.FetchVerified(ctx, s.obj.Spec.URL, o.ref, o.auth, o.revision, checkout,
		source.Limits{Reserve: room.Take}, o.verify)
	if err != nil {
		f := s.named(sourceFault(err))
		if f.stalled {
			f.message = "revision " + o.revision.String() + ": " + f.message
		}
		return nil, f
	}
	if o.verify != nil {
		s.verified = &signers
	}
	built, err := build.Build(ctx, checkout, s.obj.Spec.Path, build.Options{
		Namespace: s.obj.Namespace,
		Confined:  s.obj.Spec.ServiceAccountName == "",
		Labelled:  s.obj.Spec.Secrets == v1alpha1.SecretsLabelled,
		Lookup:    s.lookup(ctx),
		Reserve:   room.Take,
	})
	if err == nil {
		built.Release()
		return built, nil
	}
	var found *build.Error
	if !errors.As(err, &found) {
		return nil, applyFault(ctx, err, nil)
	}
	return nil, &fault{
		reason: found.Reason(), stalled: true,
		message: "revision " + o.revision.String() + ": " + found.Error(),
	}
}

// lookup resolves references with the cluster's objects of Cairn's own kinds. A missing object is no mistake of the
// revision: it can come later, and the object that refers to it reports it in its conditions.
func (s *reconciling) lookup(ctx context.Context) check.Lookup {
	found := map[check.Reference]*unstructured.Unstructured{}
	return func(ref check.Reference) (*unstructured.Unstructured, bool) {
		if u, ok := found[ref]; ok {
			return u, u != nil
		}
		u := s.find(ctx, ref)
		found[ref] = u
		return u, u != nil
	}
}

func (s *reconciling) find(ctx context.Context, ref check.Reference) *unstructured.Unstructured {
	gvk := ref.WithVersion(v1alpha1.GroupVersion.Version)
	if ref.Group != v1alpha1.Group {
		return nil
	}
	empty, err := s.Scheme.New(gvk)
	if err != nil {
		return nil
	}
	object, ok := empty.(client.Object)
	if !ok || s.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, object) != nil {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	return u
}

// begin writes to the status what is about to happen: BackupSessions wait for the end of an apply, and a manager that
// was killed in between finds in the inventory what it can have applied.
func (s *reconciling) begin(ctx context.Context, revision string, inventory []v1alpha1.ResourceRef) *fault {
	status := &s.obj.Status
	same := status.Inventory != nil && slices.Equal(s.inventory, inventory)
	if fault := s.setInventory(inventory); fault != nil {
		status.LastAttemptedRevision = revision
		return fault
	}
	s.completeConsent()
	// A revision that is retried after a refusal is already announced.
	announced := (revision == status.LastAppliedRevision || conditions.IsReconciling(s.obj)) &&
		(status.Removal == nil || s.before.Status.Removal != nil) &&
		status.LastChangedRevision == s.before.Status.LastChangedRevision
	if announced && revision == status.LastAttemptedRevision && s.obj.Generation == status.ObservedGeneration &&
		same && equality.Semantic.DeepEqual(status.Consent, s.before.Status.Consent) {
		return nil
	}
	status.LastAttemptedRevision = revision
	conditions.MarkReconciling(s.obj, v1alpha1.ReasonProgressing, "applying revision %s", revision)
	if !conditions.IsFalse(s.obj, meta.ReadyCondition) {
		conditions.MarkUnknown(s.obj, meta.ReadyCondition, v1alpha1.ReasonProgressing, "applying revision %s", revision)
	}
	if err := s.write(ctx); err != nil {
		return applyFault(ctx, err, nil)
	}
	return nil
}

// applyFault turns an error of the API server into a fault.
func applyFault(ctx context.Context, err error, objects []build.Object) *fault {
	if refusesImpersonation(err) {
		return notImpersonated("the ServiceAccount of spec.serviceAccountName")
	}
	f := &fault{
		reason:  v1alpha1.ReasonReconcileFailed,
		message: position(err, objects) + strings.Join(strings.Fields(err.Error()), " "),
	}
	switch {
	case ctx.Err() != nil:
		f.message = "the reconcile took longer than spec.timeout allows: " + f.message
	case apierrors.IsForbidden(err):
		f.reason = v1alpha1.ReasonForbidden
	}
	return f
}
