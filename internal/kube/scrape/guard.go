// Package scrape lets only those read the manager's metrics and profiles whom the API server lets. It asks with a
// TokenReview who somebody is, and with a SubjectAccessReview whether they are allowed to, as kube-rbac-proxy does.
//
// controller-runtime has a filter that does the same. It takes 17 MiB of memory more, because it brings half an API
// server along.
package scrape

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cairn-backup/cairn/internal/kube/share"
)

const (
	// answerFor is how long an answer of the API server counts. Prometheus asks about twice a minute.
	answerFor = time.Minute
	// askWithin is the time that the API server has for both questions.
	askWithin = 10 * time.Second
	// askAtOnce limits the questions at a time: anybody who reaches the address can make the manager ask. One address
	// has half of them.
	askAtOnce = 4
	// askAgainAtOnce limits the questions about tokens that were let in within the last rememberFor. They have turns of
	// their own.
	askAgainAtOnce = 2
	rememberFor    = time.Hour
	// maxAnswers limits the answers that are kept of those who were let in, and as many of all others.
	maxAnswers = 1000
	// longestToken is more than any token of Kubernetes has.
	longestToken = 16 << 10
)

// Reviewer asks the API server. An error means that it did not answer.
type Reviewer interface {
	// Who returns whose token it is, or nil if it is nobody's.
	Who(ctx context.Context, token string) (*authenticationv1.UserInfo, error)
	// Allowed reports whether a user is allowed to do something with a path that is no resource.
	Allowed(ctx context.Context, who *authenticationv1.UserInfo, verb, path string) (bool, error)
}

// Guard stands before the handlers of the metrics. It can be used by several goroutines.
type Guard struct {
	reviewer      Reviewer
	clock         clock.PassiveClock
	asking, again chan struct{}
	shares        *share.Share // of the addresses

	mu          sync.Mutex
	let, others answers // those who were let in, and all others: the one never pushes out the other
}

// question holds a digest of the token: no copy of the token stays in memory.
type question struct {
	token      [sha256.Size]byte
	verb, path string
}

type answer struct {
	status int
	at     time.Time
}

// answers are bounded.
type answers map[question]answer

// put adds an answer. If there is no room, an old one makes it: the first that is outdated, else any.
func (all answers) put(q question, a answer) {
	if _, known := all[q]; !known && len(all) >= maxAnswers {
		var victim question
		for old, o := range all {
			victim = old
			if a.at.Sub(o.at) >= answerFor {
				break
			}
		}
		delete(all, victim)
	}
	all[q] = a
}

// New returns a Guard.
func New(reviewer Reviewer, c clock.PassiveClock) *Guard {
	return &Guard{
		reviewer: reviewer, clock: c, asking: make(chan struct{}, askAtOnce),
		again: make(chan struct{}, askAgainAtOnce), shares: share.Of(askAtOnce), let: answers{}, others: answers{},
	}
}

// Filter makes a Guard for controller-runtime's server of metrics.
func Filter(config *rest.Config, client *http.Client) (server.Filter, error) {
	// Questions of strangers do not use up the requests of the controllers.
	own := rest.CopyConfig(config)
	own.RateLimiter, own.QPS, own.Burst = nil, 2*askAtOnce, 4*askAtOnce
	tokens, err := authenticationclient.NewForConfigAndClient(own, client)
	if err != nil {
		return nil, fmt.Errorf("make the client for TokenReviews: %w", err)
	}
	access, err := authorizationclient.NewForConfigAndClient(own, client)
	if err != nil {
		return nil, fmt.Errorf("make the client for SubjectAccessReviews: %w", err)
	}
	guard := New(reviews{tokens.TokenReviews(), access.SubjectAccessReviews()}, clock.RealClock{})
	return guard.Wrap, nil
}

// Wrap returns a handler that calls next only for those who are allowed to.
func (g *Guard) Wrap(log logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := g.judge(r)
		if err != nil {
			log.Error(err, "could not tell who reads the metrics")
		}
		if status != http.StatusOK {
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// judge returns the status of the answer, StatusOK for those who are allowed to read.
func (g *Guard) judge(r *http.Request) (status int, _ error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > longestToken {
		return http.StatusUnauthorized, nil
	}
	q := question{token: sha256.Sum256([]byte(token)), verb: strings.ToLower(r.Method), path: r.URL.Path}
	status, known, was := g.known(q)
	if known {
		return status, nil
	}
	done := g.turn(r.RemoteAddr, was)
	if done == nil {
		return http.StatusServiceUnavailable, nil
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), askWithin)
	defer cancel()
	status, err := g.ask(ctx, token, q)
	if err != nil {
		return http.StatusServiceUnavailable, err
	}
	g.keep(q, status)
	return status, nil
}

func (g *Guard) ask(ctx context.Context, token string, q question) (status int, _ error) {
	who, err := g.reviewer.Who(ctx, token)
	if err != nil {
		return 0, err
	}
	if who == nil {
		return http.StatusUnauthorized, nil
	}
	allowed, err := g.reviewer.Allowed(ctx, who, q.verb, q.path)
	switch {
	case err != nil:
		return 0, err
	case !allowed:
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

// turn takes a turn to ask, and returns the function that ends it, or nil if there is none now. was says that the token
// was let in not long ago: strangers can't take such a turn, however many tokens they try.
func (g *Guard) turn(remote string, was bool) (done func()) {
	turns, release := g.again, func() {}
	if !was {
		host, _, err := net.SplitHostPort(remote)
		if err != nil {
			host = remote
		}
		turns, release = g.asking, g.shares.Take(host)
	}
	if release == nil {
		return nil
	}
	select {
	case turns <- struct{}{}:
		return func() { <-turns; release() }
	default:
		release()
		return nil
	}
}

// known returns the answer to a question if one counts still. was reports whether somebody was let in by an answer
// that is not much older.
func (g *Guard) known(q question) (status int, known, was bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if a, ok := g.let[q]; ok {
		age := now.Sub(a.at)
		return a.status, age < answerFor, age < rememberFor
	}
	a, ok := g.others[q]
	return a.status, ok && now.Sub(a.at) < answerFor, false
}

// keep remembers an answer.
func (g *Guard) keep(q question, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in, out := g.others, g.let
	if status == http.StatusOK {
		in, out = g.let, g.others
	}
	delete(out, q)
	in.put(q, answer{status, g.clock.Now()})
}

// reviews is the Reviewer of a cluster.
type reviews struct {
	tokens authenticationclient.TokenReviewInterface
	access authorizationclient.SubjectAccessReviewInterface
}

// Who implements Reviewer.
func (r reviews) Who(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	got, err := r.tokens.Create(ctx, review, metav1.CreateOptions{})
	switch {
	case err != nil:
		return nil, fmt.Errorf("create a TokenReview: %w", err)
	case !got.Status.Authenticated:
		return nil, nil
	}
	return &got.Status.User, nil
}

// Allowed implements Reviewer.
func (r reviews) Allowed(ctx context.Context, who *authenticationv1.UserInfo, verb, path string) (bool, error) {
	extra := make(map[string]authorizationv1.ExtraValue, len(who.Extra))
	for key, value := range who.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	got, err := r.access.Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: who.Username, UID: who.UID, Groups: who.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path},
		},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return false, fmt.Errorf("create a SubjectAccessReview: %w", err)
	case !got.Status.Allowed && got.Status.EvaluationError != "":
		return false, errors.New("the API server could not evaluate a SubjectAccessReview")
	}
	return got.Status.Allowed && !got.Status.Denied, nil
}
