package movers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// Refuse returns an error that no repetition can fix. It ends what it is about.
func Refuse(reason, format string, args ...any) error {
	return &access.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// NeverAccepted reports whether the API server will never accept the object, because it is invalid or too large. etcd
// gives no reason for the latter.
func NeverAccepted(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) || err != nil &&
		strings.Contains(err.Error(), "request is too large")
}

// Refused reports whether the API server has judged the object and does not take it: it is NeverAccepted, or an
// admission webhook, an admission policy or a quota is against it. The same object is refused again the next time.
func Refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return NeverAccepted(err)
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict,
		http.StatusTooManyRequests:
		return false
	default:
		return NeverAccepted(err) || code >= http.StatusBadRequest && code < http.StatusInternalServerError
	}
}

// AsRefusal turns an error into a refusal if the API server will never accept the object. It returns any other error
// unchanged.
func AsRefusal(err error) error {
	if NeverAccepted(err) {
		return Refuse(v1alpha1.ReasonInvalidTask, "the API server refused it: %v", err)
	}
	return err
}

// RefusedForNow reports whether the API server refuses an object for a reason that can pass: a quota, an admission
// webhook or an admission policy is against it, it can't call such a webhook, or the manager lacks the right. A
// namespace that is being deleted takes nothing more, which is no refusal.
func RefusedForNow(err error) bool {
	switch {
	case NeverAccepted(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return false
	default:
		return Unanswered(err) || Refused(err)
	}
}

// Denied reports whether the API server refuses a write, for now or for ever.
func Denied(err error) bool { return NeverAccepted(err) || RefusedForNow(err) }

// Unanswered reports whether the API server can't call an admission webhook: it takes nothing until that is back.
func Unanswered(err error) bool {
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook")
}

// AsDenial turns the error of a write into a refusal as AsRefusal does, and also if the API server refuses the
// object for now: then run.CanPass recognises the refusal. It returns any other error unchanged.
func AsDenial(err error) error {
	if RefusedForNow(err) {
		return &denial{err}
	}
	return AsRefusal(err)
}

// Unchanged turns a denial of the API server to change what into a refusal that can pass. The code does not tell which
// denials last: an admission policy says that the object is invalid. It returns any other error unchanged.
func Unchanged(what string, err error) error {
	if !Denied(err) {
		return err
	}
	return Refuse(v1alpha1.ReasonCreationRefused, "the API server refuses to change %s: %v", what, err)
}

// Lasting reports whether the API server answers a look-up with an error that concerns what was asked for, and that can
// last: the manager has no right to it, or the conversion webhook of its kind is broken.
func Lasting(err error) bool {
	return Refused(err) || apierrors.IsInternalError(err) && strings.Contains(err.Error(), "conversion webhook")
}

// NotLookedUp turns the Lasting error of looking up a target into a refusal that can pass: see run.CanPass. Such an
// error must not hold up a run or restore whose applications are frozen. It returns any other error unchanged.
func NotLookedUp(err error) error {
	if Lasting(err) {
		return Refuse(v1alpha1.ReasonCreationRefused, "the target can't be looked up: %v", err)
	}
	return err
}

// denial is a refusal that can pass. It still shows the error of the API server.
type denial struct{ error }

// Unwrap returns the refusal and its cause.
func (d *denial) Unwrap() []error {
	return []error{Refuse(v1alpha1.ReasonCreationRefused, "the API server refuses it: %v", d.error), d.error}
}

// Refusals explains why things can't be made, by the names under which a decision looks for them.
type Refusals map[string]*v1alpha1.ResolvedError

// Add adds the refusal that err carries under name, and logs it. It returns any other error, and a second refusal under
// the same name: the decision did not heed the first.
func (r Refusals) Add(ctx context.Context, name string, err error) error {
	refusal := RefusalOf(err)
	if refusal == nil || name == "" || r[name] != nil {
		return err
	}
	r.Set(ctx, name, refusal)
	return nil
}

// Set adds a refusal under name, and logs it. The first refusal under a name stays.
func (r Refusals) Set(ctx context.Context, name string, refusal *v1alpha1.ResolvedError) {
	if r[name] != nil {
		return
	}
	LogRefused(ctx, name, refusal)
	r[name] = refusal
}

// LogRefused logs that the thing of a name can never be made, or at V(1) that it can't be made for now: that is tried
// again and again. Refusals.Add and Refusals.Set call it themselves.
func LogRefused(ctx context.Context, name string, refusal *v1alpha1.ResolvedError) {
	log := logf.FromContext(ctx)
	if run.CanPass(refusal) {
		log = log.V(1)
	}
	log.Info("refused", "name", name, "reason", refusal.Reason, "message", refusal.Message)
}

// maxLogged is how many Jobs and reasons one line names at most.
const maxLogged = 10

// LogFenced logs the Jobs that one write has fenced, and why. It writes one line for all of them, because a user can
// make the manager fence again and again.
func LogFenced(ctx context.Context, fenced, reasons []string, keys ...any) {
	if len(fenced) == 0 {
		return
	}
	keys = append(keys, "jobs", fenced[:min(len(fenced), maxLogged)], "count", len(fenced))
	if len(reasons) > 0 {
		keys = append(keys, "reasons", reasons[:min(len(reasons), maxLogged)])
	}
	logf.FromContext(ctx).Info("fenced movers", keys...)
}

// RefusalOf returns the refusal that err carries, or nil for an error that can pass.
func RefusalOf(err error) *v1alpha1.ResolvedError {
	if reason, message, ok := access.ReasonOf(err); ok {
		return &v1alpha1.ResolvedError{Reason: reason, Message: message}
	}
	if errors.Is(err, moverjob.ErrPrivilegeRequired) {
		return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonPrivilegeRequired, Message: err.Error()}
	}
	return nil
}
