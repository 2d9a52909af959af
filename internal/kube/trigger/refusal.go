package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

const (
	// refusedRetry is how soon a refused write is tried again: no event reports that the refusal ends. The back-off
	// of an error grows beyond that, and would hold up the runs that the manager starts.
	refusedRetry = time.Minute
	// maxNamed is how many refusals the status of a policy and the log name.
	maxNamed = 3
)

// Refused reports whether the API server refuses a request for a reason that lasts: a quota, an admission webhook or
// policy is against it, it cannot call such a webhook, or it does not permit or take the request at all.
func Refused(err error) bool {
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status), apierrors.IsResourceExpired(err), apierrors.IsGone(err), isAnother(status):
		return false
	default:
		return movers.NeverAccepted(err) || movers.RefusedForNow(err)
	}
}

// isAnother reports whether a write failed because the object was made again since it was read.
func isAnother(status apierrors.APIStatus) bool {
	details := status.Status().Details
	return details != nil && slices.ContainsFunc(details.Causes,
		func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// Refusals splits joined errors into those that are Refused and the others, which can be gone at the next try.
func Refusals(err error) (refused []error, others error) {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil, nil
	case !ok && Refused(err):
		return []error{err}, nil
	case !ok:
		return nil, err
	}
	for _, e := range joined.Unwrap() {
		r, o := Refusals(e)
		refused, others = append(refused, r...), errors.Join(others, o)
	}
	return refused, others
}

// Problems returns what a status says of refusals: of the first ones what Cairn tried, such as "apply CronJob
// shop/trigger-web", with the words of the API server; of the others how many there are.
func Problems(refused []error) []status.Problem {
	var out []status.Problem
	for _, err := range refused[:min(len(refused), maxNamed)] {
		what, words, _ := strings.Cut(err.Error(), ": ")
		out = append(out, status.Problem{Text: what + ": ", Words: words})
	}
	if more := len(refused) - maxNamed; more > 0 {
		out = append(out, status.Problem{Text: fmt.Sprintf("the API server refuses %d more", more)})
	}
	return out
}

// Retry returns what a reconcile returns after it has done what it could: the errors of which some can be gone at the
// next try, or when to try again what is refused. after is when to reconcile otherwise; zero means never.
func Retry(ctx context.Context, after time.Duration, err error) (ctrl.Result, error) {
	refused, others := Refusals(err)
	for _, err := range refused[:min(len(refused), maxNamed)] {
		what, words, _ := strings.Cut(err.Error(), ": ")
		movers.LogRefused(ctx, what, &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonReconcileFailed, Message: words})
	}
	if others != nil {
		return ctrl.Result{}, others
	}
	if len(refused) > 0 && (after == 0 || after > refusedRetry) {
		after = refusedRetry
	}
	return ctrl.Result{RequeueAfter: after}, nil
}
