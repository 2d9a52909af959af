package repository

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cairn-backup/cairn/internal/text"
)

// Errors on which a caller can act. Test for them with errors.Is.
var (
	ErrWrongPassword      = errors.New("wrong repository password")
	ErrNotInitialized     = errors.New("no repository here")
	ErrAlreadyInitialized = errors.New("repository exists already")
	ErrUntrusted          = errors.New("storage is not trusted")
	ErrUnreachable        = errors.New("storage unreachable")
	ErrAccessDenied       = errors.New("storage denied access")
	ErrBadCredentials     = errors.New("storage rejected the credentials")
	ErrNoBucket           = errors.New("bucket or directory does not exist")
	ErrStorageFull        = errors.New("storage is full")
	ErrArchived           = errors.New("storage has archived the data")
	ErrClockSkew          = errors.New("clock differs too much from the storage's")
	ErrCorrupt            = errors.New("repository data is damaged or missing")
	ErrNotFound           = errors.New("not found in the repository")
	ErrPartial            = errors.New("some entries could not be read")
	ErrRefused            = errors.New("the backup was refused")
	ErrSource             = errors.New("reading the source failed")
	ErrTarget             = errors.New("writing the restore target failed")
	ErrInTheWay           = errors.New("a directory is in the place of a file, or a file in the place of a directory")
	ErrSameName           = errors.New("the file system takes different names for one")
	ErrCanceled           = errors.New("canceled")
	ErrBusy               = errors.New("repository is in exclusive use")
	ErrTooNew             = errors.New("repository needs a newer version")
	ErrNotOwner           = errors.New("repository is maintained by another owner")
)

// Error attaches one of the kinds above to the error that was seen.
type Error struct {
	Op   string // the operation, a verb
	Kind error  // nil means not classified
	Err  error
}

// Error returns operation, kind and cause, without secrets.
func (e *Error) Error() string {
	if e.Kind == nil {
		return e.Op + ": " + Redact(e.Err.Error())
	}
	return fmt.Sprintf("%s: %v: %s", e.Op, e.Kind, Redact(e.Err.Error()))
}

// Unwrap returns both the kind and the cause, for errors.Is.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// secretParam matches parameters of signed URLs, and passwords in URLs.
var secretParam = regexp.MustCompile(
	`(?i)((?:sig|signature|token|X-Amz-[A-Za-z-]+|password|secret[a-z]*|sv)=)[^&\s"]+|(://[^/\s:@]+:)[^@/\s]+@`)

// quotedAnswer matches what net/http and net/textproto quote.
var quotedAnswer = regexp.MustCompile(`(?s)(malformed (?:HTTP|MIME) [a-z ]+|unsupported transfer encoding|` +
	`bad Content-Length|sent GOAWAY)\b.*`)

// localAddress matches the local end of a connection, whose port differs each time.
var localAddress = regexp.MustCompile(`(\b(?:tcp|udp)[46]? )\S+->`)

// Redact removes secrets that storage clients put into error texts: parameters of signed URLs and passwords in URLs.
// It also removes what makes two errors of the same cause differ: a status that changes with every attempt is written
// with every attempt.
//
// It removes as well what net/http quotes from an answer that it does not understand: the address of a storage can lead
// to any server.
func Redact(s string) string {
	s = localAddress.ReplaceAllString(s, "$1")
	s = quotedAnswer.ReplaceAllString(s, "$1")
	if !strings.ContainsAny(s, "=@") {
		return s
	}
	return secretParam.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "://") {
			return m[:strings.LastIndexByte(m[:len(m)-1], ':')+1] + "***@"
		}
		return m[:strings.IndexByte(m, '=')+1] + "***"
	})
}

// Worded returns an error that shows a text in place of that of its cause, in which a server can have said anything.
func Worded(text string, cause error) error { return &worded{text, cause} }

type worded struct {
	text  string
	cause error
}

// Error returns the text alone.
func (e *worded) Error() string { return e.text }

// Unwrap returns the cause, for errors.As.
func (e *worded) Unwrap() error { return e.cause }

// CheckedPart is the error of a Check that found damage and had no time to find all of it. The damaged snapshots that
// are returned beside it are those of the first Count of the list.
type CheckedPart struct {
	// Count is how many snapshots were checked, at least one.
	Count int
	// Err is why the others were not.
	Err error
}

// Error implements error.
func (e *CheckedPart) Error() string {
	return fmt.Sprintf("%s checked: %v", text.Quantity(int64(e.Count), "snapshot"), e.Err)
}

// Unwrap returns why the others were not checked.
func (e *CheckedPart) Unwrap() error { return e.Err }
