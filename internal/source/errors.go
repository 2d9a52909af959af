package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// Kinds of failure, for errors.Is. Every other error of this package is a fault of the machine that it runs on.
var (
	// ErrURL: the URL can't be used at all, or holds a credential.
	ErrURL = errors.New("URL is not usable")
	// ErrAuth: the credentials are wrong, missing or lack a permission.
	ErrAuth = errors.New("credentials were not accepted")
	// ErrSecret accompanies ErrAuth and ErrHostKey if the data of the Secret is at fault: no server was asked.
	ErrSecret = errors.New("secret is not usable")
	// ErrHostKey: the SSH host key is not the one in known_hosts.
	ErrHostKey = errors.New("host key is not trusted")
	// ErrRepositoryNotFound: there is no repository, or none that the credentials can see.
	ErrRepositoryNotFound = errors.New("repository not found")
	// ErrRefNotFound: the repository has no such branch, tag or commit.
	ErrRefNotFound = errors.New("reference not found")
	// ErrUnreachable: the server did not answer or answered with a fault. Retry.
	ErrUnreachable = errors.New("server unreachable")
	// ErrTooLarge: the revision, one of its files, or the server's answer exceeds a limit.
	ErrTooLarge = errors.New("over a size limit")
	// ErrSymlink: a symbolic link leads out of the checkout or nowhere.
	ErrSymlink = errors.New("unsafe symbolic link")
	// ErrCommitSignature: no trusted key has signed the commit.
	ErrCommitSignature = errors.New("commit is not signed with a trusted key")
	// ErrTagSignature: no trusted key has signed the tag, or not for this commit.
	ErrTagSignature = errors.New("tag is not signed with a trusted key")
	// ErrVerificationMode: a tag is to be verified, and the reference is none.
	ErrVerificationMode = errors.New("reference is no tag")
	// ErrPath: the name of a file can't be written safely.
	ErrPath = errors.New("unsafe file name")
)

// Error is a failure that a user can act on. Its text is one sentence without a credential, safe for conditions and
// events.
type Error struct {
	Kind       error         // one of the kinds above
	Message    string        // what happened and what to do
	RetryAfter time.Duration // what the server asked for, or zero
	secret     bool          // also ErrSecret
	context    error
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// Unwrap lets errors.Is find the kind, ErrSecret and a context error.
func (e *Error) Unwrap() []error {
	out := []error{e.Kind}
	if e.secret {
		out = append(out, ErrSecret)
	}
	if e.context != nil {
		out = append(out, e.context)
	}
	return out
}

func fail(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// errorTexts maps kinds of gitstore to ours and says what to do. The verbs are the URL and what the server said.
var errorTexts = []struct {
	from, kind error
	sentence   string
}{
	{
		gitstore.ErrHostKey, ErrHostKey,
		"SSH host key of %s is not trusted (%s): put the server's present key into known_hosts of the Secret",
	},
	{gitstore.ErrAuth, ErrAuth, "%s did not accept the credentials (%s): check the Secret, and that its account is " +
		"allowed to read the repository"},
	{
		gitstore.ErrNoRepository, ErrRepositoryNotFound,
		"no repository at %s that these credentials can see (%s): check the URL and the Secret",
	},
	{gitstore.ErrTooLarge, ErrTooLarge, "answer of %s exceeds a limit (%s): keep policy in a smaller repository"},
	{
		gitstore.ErrNotServed, ErrRefNotFound,
		"%s does not hand out the commit (%s): check ref.commit, or set ref.branch beside it",
	},
	{
		gitstore.ErrUnreachable, ErrUnreachable,
		"%s does not answer as it should (%s): check the URL, the network and the server",
	},
	{gitstore.ErrRefused, ErrUnreachable, "%s refused to answer (%s): check the URL and the server's configuration"},
}

// explain turns an error of gitstore into one of this package. No other error of gitstore leaves this package.
func explain(url string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, gitstore.ErrURL) {
		return fail(ErrURL, "%s", err)
	}
	out := &Error{}
	text := err.Error()
	var remote *gitstore.RemoteError
	if errors.As(err, &remote) {
		out.RetryAfter = remote.RetryAfter
		if text = remote.Message; text == "" {
			text = remote.Kind.Error()
		}
	}
	for _, c := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			out.context = c
		}
	}
	if out.RetryAfter == 0 && strings.Contains(text, "x509: ") {
		out.Kind, out.Message = ErrUnreachable,
			fmt.Sprintf("certificate of %s is not trusted (%s): put its authority into "+
				"ca.crt of the Secret, or replace the server's certificate", url, text)
		return out
	}
	for _, a := range errorTexts {
		if errors.Is(err, a.from) {
			out.Kind, out.Message = a.kind, fmt.Sprintf(a.sentence, url, text)
			return out
		}
	}
	return fmt.Errorf("fetch %s: %w", url, err)
}
