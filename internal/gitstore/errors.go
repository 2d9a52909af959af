package gitstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
)

// Errors on which a caller can branch with errors.Is. Errors of an exchange with the remote are *RemoteError and
// carry one of the first group.
var (
	// errMoved: the branch is no longer where the commit was based. Fetch and re-apply.
	errMoved = errors.New("branch has moved")
	// ErrRefused: the server, a hook or a branch rule refused. Retrying is futile.
	ErrRefused = errors.New("push refused by the server")
	// ErrPushTooLarge: the server, or a proxy before it, refused the size of the push. It is an ErrRefused. A smaller
	// push can succeed.
	ErrPushTooLarge = fmt.Errorf("%w for its size", ErrRefused)
	// ErrURL: the URL is not that of a remote repository, or holds a credential.
	ErrURL = errors.New("URL is not usable")
	// ErrAuth: credentials were refused, lack a permission, or can't be read.
	ErrAuth = errors.New("authentication or authorisation failed")
	// ErrHostKey: the SSH host key is not the one in known_hosts, or known_hosts is missing.
	ErrHostKey = errors.New("host key is not trusted")
	// ErrNotServed: the server does not hand out the wanted commit by its hash.
	ErrNotServed = errors.New("commit is not handed out by the server")
	// ErrNoRepository: no Git repository at the URL, or none that the credentials can see.
	ErrNoRepository = errors.New("repository not found")
	// ErrUnreachable: the server did not answer, or answered with a fault. Either nothing was sent, or the branch was
	// read back and does not have the commit (yet: see Push).
	ErrUnreachable = errors.New("server unreachable")
	// ErrOutcomeUnknown: the push was sent, its reply was lost, and the branch could not be read back. Repeat Update:
	// it finds out.
	ErrOutcomeUnknown = errors.New("outcome of the push is unknown")
	// ErrHistoryRewritten: the branch does not contain the last pushed commit.
	ErrHistoryRewritten = errors.New("history was rewritten")
	// ErrTooLarge: an answer of the server exceeds Limits.
	ErrTooLarge = errors.New("answer of the server is too large")

	// errLocked: another Store has the directory open.
	errLocked = errors.New("store is in use by another process")
	// ErrForeign: the directory holds files that no Store of this branch put there.
	ErrForeign = errors.New("directory belongs to something else")
	// errCorrupt: objects in the directory are damaged, even after the directory was recycled.
	errCorrupt = errors.New("local objects are damaged")
	// errNotFetched: call Fetch or Update first.
	errNotFetched = errors.New("nothing was fetched yet")
	// ErrInvalidEdit: a path is not allowed. The caller made a mistake.
	ErrInvalidEdit = errors.New("invalid edit")
	// ErrFileTooLarge: the content of an edit is larger than a file can be.
	ErrFileTooLarge = errors.New("file is too large")
	// ErrAppendOnly: an edit would change or delete a file under AppendOnly.
	ErrAppendOnly = errors.New("existing record would be changed")
	// ErrNoFile: the branch has no such file or directory.
	ErrNoFile = errors.New("no such file in the branch")
	// ErrNoBlob: the store has no blobs, the server does not hand out single objects, and the file is not small. Open
	// the store with FullBlobs to read any content.
	ErrNoBlob = errors.New("the server does not hand out the content of this file alone")
)

// RemoteError is a failed exchange with the server. Its text is safe to show: credentials are removed and its length
// is bounded. The transport's own error is not part of the chain, because its text is not safe. Context errors are.
type RemoteError struct {
	Op         string        // what was attempted: "fetch", "push", "read back"
	Kind       error         // one of the sentinels above
	Message    string        // what the server or transport said, scrubbed
	RetryAfter time.Duration // what the server asked for, or zero
	context    error
}

// Error returns the operation, the kind of the error and the message of the server.
func (e *RemoteError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s: %s", e.Op, e.Kind)
	}
	return fmt.Sprintf("%s: %s: %s", e.Op, e.Kind, e.Message)
}

// Unwrap lets errors.Is find the kind and a context error.
func (e *RemoteError) Unwrap() []error {
	if e.context == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.context}
}

// httpStatus is any HTTP answer outside 2xx.
type httpStatus struct {
	code       int
	retryAfter time.Duration
}

func (e *httpStatus) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP status %d %s", e.code, http.StatusText(e.code)))
}

// refusal is a reply that refuses the ref update or the pack.
type refusal struct{ reason, output string }

func (e *refusal) Error() string {
	if e.output == "" {
		return e.reason
	}
	return e.reason + ": " + e.output
}

// serverWords lists words that servers and libraries were seen to use. The first match wins. The words only choose
// between kinds that a read-back can't tell apart: text never decides whether a push landed.
var serverWords = []struct {
	words string
	kind  error
}{
	{"does not appear to be a git repository", ErrNoRepository}, // C git over SSH
	{"no such repository", ErrNoRepository},                     // git daemon
	{"repository not found", ErrNoRepository},                   // GitHub
	{"repository does not exist", ErrNoRepository},              // Bitbucket, Gogs
	{"project you were looking for could not", ErrNoRepository}, // GitLab
	{"cannot find repository", ErrNoRepository},                 // Gitea
	{"unable to authenticate", ErrAuth},                         // x/crypto/ssh
	{"permission denied", ErrAuth},                              // OpenSSH, GitHub
	{"knownhosts: ", ErrHostKey},                                // unknown, changed or revoked host key
	{"no common algorithm for host key", ErrHostKey},            // key of another type than the known ones
	{"not our ref", ErrNotServed},                               // C git
	{"exceeds maximum allowed size", ErrPushTooLarge},           // C git, receive.maxInputSize
	{"not allowed to push", ErrRefused},                         // GitLab
	{"hook declined", ErrRefused},
	{"protected branch", ErrRefused},
	{"non-fast-forward", errMoved},
	{"fetch first", errMoved},
	{"stale info", errMoved},
	{"failed to update ref", errMoved},     // C git, stale old value
	{"cannot lock ref", errMoved},          // C git, two pushes at once
	{"failed to lock", errMoved},           // older C git
	{"reference already exists", errMoved}, // C git, two creations at once
	{"incorrect old value", errMoved},      // C git, reftable; JGit
}

func kindOfText(text string, otherwise error) error {
	text = strings.ToLower(text)
	for _, o := range serverWords {
		if strings.Contains(text, o.words) {
			return o.kind
		}
	}
	return otherwise
}

// classify turns any error of an exchange into a RemoteError.
func (r *Remote) classify(op string, err error) error {
	var (
		remote *RemoteError
		status *httpStatus
		line   *pktline.ErrorLine
		no     *refusal
	)
	out := &RemoteError{Op: op, Kind: ErrUnreachable, Message: r.secrets.scrub(err.Error())}
	switch {
	case errors.As(err, &remote):
		return remote
	case errors.Is(err, context.Canceled):
		out.context = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		out.context = context.DeadlineExceeded
	case errors.Is(err, ErrTooLarge), errors.Is(err, errCorrupt), errors.Is(err, os.ErrClosed),
		errors.Is(err, errLocal):
		return err // our own errors contain no text of the transport
	case errors.As(err, &status):
		out.Kind, out.RetryAfter = kindOfStatus(status), status.retryAfter
	case errors.As(err, &no):
		out.Kind = kindOfText(err.Error(), ErrRefused)
	case errors.As(err, &line):
		out.Kind = kindOfText(line.Text, ErrRefused)
	default:
		out.Kind = kindOfText(err.Error(), ErrUnreachable)
	}
	return out
}

func kindOfStatus(s *httpStatus) error {
	switch {
	case s.code == http.StatusUnauthorized, s.code == http.StatusForbidden, s.code == http.StatusProxyAuthRequired:
		return ErrAuth
	case s.code == http.StatusNotFound, s.code == http.StatusGone:
		return ErrNoRepository
	case s.code == http.StatusTooManyRequests, s.code == http.StatusRequestTimeout, s.code >= 500:
		return ErrUnreachable
	case s.code == http.StatusRequestEntityTooLarge:
		return ErrPushTooLarge
	default:
		return ErrRefused
	}
}
