package policysync

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/source"
)

// fault is the reason why a reconcile failed, in words for the user.
type fault struct {
	reason  string
	message string
	// stalled faults stay until the user or the repository changes something.
	stalled bool
	// unverified faults say that no trusted key has signed the revision, or that the trusted keys can't be read.
	unverified bool
	// early faults were found before the first write: the revision in force is unchanged.
	early bool
	// foreign is the object of somebody else that is in the way.
	foreign *key
	// awaits is the consent that would let the pass go on.
	awaits string
	// retryAfter is the pause that the server asked for.
	retryAfter time.Duration
}

// Error returns the message.
func (f *fault) Error() string { return f.message }

// sourceReasons maps the kinds of source errors to reasons. ofRevision marks errors that are properties of the
// revision.
var sourceReasons = []struct {
	kind       error
	reason     string
	ofRevision bool
}{
	{source.ErrURL, v1alpha1.ReasonInvalidURL, false},
	{source.ErrSecret, v1alpha1.ReasonInvalidSecret, false},
	{source.ErrHostKey, v1alpha1.ReasonHostKeyMismatch, false},
	{source.ErrAuth, v1alpha1.ReasonAuthenticationFailed, false},
	{source.ErrRepositoryNotFound, v1alpha1.ReasonRepositoryNotFound, false},
	{source.ErrRefNotFound, v1alpha1.ReasonRefNotFound, false},
	{source.ErrCommitSignature, v1alpha1.ReasonInvalidCommitSignature, true},
	// A tag can be signed again without a new revision.
	{source.ErrTagSignature, v1alpha1.ReasonInvalidTagSignature, false},
	{source.ErrVerificationMode, v1alpha1.ReasonInvalidVerificationMode, true},
	{source.ErrTooLarge, v1alpha1.ReasonSourceTooLarge, true},
	{source.ErrSymlink, v1alpha1.ReasonBuildFailed, true},
	{source.ErrPath, v1alpha1.ReasonBuildFailed, true},
	{source.ErrUnreachable, v1alpha1.ReasonUnreachable, false},
}

// sourceFault turns a failure of the source into a fault. Faults of servers and Secrets can pass. A fault that stalls
// the PolicySync lasts until the spec or the Git repository changes.
func sourceFault(err error) *fault {
	var ours *fault
	if errors.As(err, &ours) {
		return ours
	}
	out := &fault{reason: v1alpha1.ReasonGitOperationFailed, message: err.Error()}
	var detail *source.Error
	if errors.As(err, &detail) {
		out.retryAfter = detail.RetryAfter
	}
	for _, r := range sourceReasons {
		if errors.Is(err, r.kind) {
			out.reason = r.reason
			out.stalled = r.ofRevision || errors.Is(err, source.ErrURL)
			break
		}
	}
	return out
}

// fail writes a fault to the conditions and returns when to try again.
func (s *reconciling) fail(ctx context.Context, f *fault) ctrl.Result {
	message := f.message
	if applied := s.obj.Status.LastAppliedRevision; f.stalled && applied != "" &&
		f.reason != v1alpha1.ReasonDeletionBlocked {
		message += "; revision " + applied + " stays in force"
	}
	conditions.MarkFalse(s.obj, meta.ReadyCondition, f.reason, "%s", message)
	if f.unverified {
		conditions.MarkFalse(s.obj, v1alpha1.ConditionSourceVerified, f.reason, "%s", message)
	}
	if f.stalled {
		conditions.MarkStalled(s.obj, f.reason, "%s", message)
	} else {
		conditions.MarkReconciling(s.obj, v1alpha1.ReasonProgressingWithRetry, "%s", message)
	}
	s.obj.Status.ObservedGeneration = s.obj.Generation
	after := max(s.jittered(s.retryInterval()), f.retryAfter)
	logs.AfterFault(ctx, f.reason, f.stalled, after)
	return ctrl.Result{RequeueAfter: after}
}

// succeed writes to the conditions that a revision is in force.
func (s *reconciling) succeed(message string) {
	conditions.Delete(s.obj, meta.ReconcilingCondition)
	conditions.Delete(s.obj, meta.StalledCondition)
	conditions.MarkTrue(s.obj, meta.ReadyCondition, v1alpha1.ReasonReconcileSucceeded, "%s", message)
}

// maxEventMessage is the number of bytes that the API server accepts for the note of an event.
const maxEventMessage = 1024

// announceChange emits one event if a reconcile changed the Ready condition.
func (s *reconciling) announceChange() {
	was, is := conditions.Get(s.before, meta.ReadyCondition), conditions.Get(s.obj, meta.ReadyCondition)
	if is == nil || is.Status == "Unknown" || was != nil && was.Status == is.Status && was.Reason == is.Reason &&
		was.Message == is.Message {
		return
	}
	kind := corev1.EventTypeNormal
	if is.Status == "False" {
		kind = corev1.EventTypeWarning
	}
	s.event(kind, is.Reason, is.Message)
}

func (s *reconciling) event(kind, reason, message string) {
	if len(message) > maxEventMessage {
		message = strings.ToValidUTF8(message[:maxEventMessage-3], "") + "..." // do not cut a rune in half
	}
	annotations := map[string]string{}
	if revision := s.obj.Status.LastAttemptedRevision; revision != "" {
		annotations[v1alpha1.Group+"/revision"] = revision
	}
	s.EventRecorder.AnnotatedEventf(s.obj, annotations, kind, reason, "%s", message)
}
