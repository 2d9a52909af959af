package repository

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"regexp"
)

// byText maps the texts of untyped errors of storage clients to kinds. The first match wins, so order matters.
// classify_test.go covers every row.
var byText = []struct {
	re   *regexp.Regexp
	kind error
}{
	{
		regexp.MustCompile(`(?i)x509:|certificate fingerprint|knownhosts:|no common algorithm for host key`),
		ErrUntrusted,
	},
	{regexp.MustCompile(`(?i)ssh: unable to authenticate|could not find default credentials|cannot fetch token|` +
		`InvalidAccessKeyId|SignatureDoesNotMatch|access key id you provided does not exist|` +
		`no user exists with the provided access key|request signature we calculated|provided token has expired|` +
		`ExpiredToken|InvalidTokenId|401 Unauthorized`), ErrBadCredentials},
	{regexp.MustCompile(`(?i)NoSuchBucket|bucket does not exist`), ErrNoBucket},
	{
		regexp.MustCompile(`(?i)RequestTimeTooSkewed|clock skew detected|difference between the request time and`),
		ErrClockSkew,
	},
	{
		regexp.MustCompile(`(?i)InvalidObjectState|not valid for the object's (storage class|access tier)`),
		ErrArchived,
	},
	{regexp.MustCompile(`(?i)Access ?Denied|AllAccessDisabled|403 Forbidden|permission denied`), ErrAccessDenied},
	{regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|QuotaExceeded|507 Insufficient|` +
		`XMinioStorageFull`), ErrStorageFull},
	{regexp.MustCompile(`(?i)connection refused|no such host|i/o timeout|no route to host|network is unreachable|` +
		`connection reset|broken pipe|TLS handshake|server gave HTTP response to HTTPS|unexpected EOF|` +
		`connection lost|use of closed network connection|503 Service|SlowDown|InternalError|Bad Gateway|` +
		`Gateway Time|Too ?Many ?Requests|reduce your request rate`), ErrUnreachable},
}

// s3Kinds maps the error codes of the S3 protocol. The texts beside the codes differ between servers.
var s3Kinds = map[string]error{
	"InvalidAccessKeyId":    ErrBadCredentials,
	"SignatureDoesNotMatch": ErrBadCredentials,
	"ExpiredToken":          ErrBadCredentials,
	"InvalidToken":          ErrBadCredentials,
	"AccessDenied":          ErrAccessDenied,
	"AllAccessDisabled":     ErrAccessDenied,
	"NoSuchBucket":          ErrNoBucket,
	"InvalidObjectState":    ErrArchived,
	"RequestTimeTooSkewed":  ErrClockSkew,
	"SlowDown":              ErrUnreachable,
	"RequestTimeout":        ErrUnreachable,
	"RequestLimitExceeded":  ErrUnreachable,
	"RequestThrottled":      ErrUnreachable,
	"Throttling":            ErrUnreachable,
	"ThrottlingException":   ErrUnreachable,
	"InternalError":         ErrUnreachable,
	"ServiceUnavailable":    ErrUnreachable,
	"QuotaExceeded":         ErrStorageFull,
	"XMinioStorageFull":     ErrStorageFull,
}

// S3Kind returns the kind of an error code of the S3 protocol, or nil for a code without a kind. Without a code,
// clients give the text of the HTTP status.
func S3Kind(code string) error {
	if kind := s3Kinds[code]; kind != nil {
		return kind
	}
	return ofText(code)
}

func ofText(text string) error {
	for _, r := range byText {
		if r.re.MatchString(text) {
			return r.kind
		}
	}
	return nil
}

// Classify wraps err with its kind. A kind that is already attached stays. Nil stays nil.
func Classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.As(err, new(*Error)) {
		return err
	}
	return &Error{Op: op, Kind: KindOf(err), Err: err}
}

// KindOf returns the kind of an error of a storage client or the operating system, nil if the error is unknown.
func KindOf(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ErrCanceled
	case IsFull(err):
		return ErrStorageFull
	}
	if kind := ofText(err.Error()); kind != nil {
		return kind
	}
	switch { // not net.Error: a plain errno has its methods too
	case errors.As(err, new(*net.OpError)), errors.As(err, new(*url.Error)):
		return ErrUnreachable
	case errors.Is(err, fs.ErrPermission):
		return ErrAccessDenied
	}
	return nil
}
