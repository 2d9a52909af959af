package kopia

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"regexp"
	"syscall"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// classify gives an error its kind. It knows kopia's own errors; repository.KindOf knows those of the storage
// clients.
func classify(op string, err error) error {
	if err == nil || errors.As(err, new(*repository.Error)) {
		return err
	}
	kind := kindOf(err)
	if named := cloud.Classify(op, err); named != nil {
		var known *repository.Error
		if errors.As(named, &known) && known.Kind == nil {
			known.Kind = kind
		}
		return named
	}
	return &repository.Error{Op: op, Kind: kind, Err: err}
}

// bySentinel maps the errors that kopia exports as values.
var bySentinel = []struct{ sentinel, kind error }{
	{format.ErrInvalidPassword, repository.ErrWrongPassword},
	{repo.ErrRepositoryNotInitialized, repository.ErrNotInitialized},
	{format.ErrAlreadyInitialized, repository.ErrAlreadyInitialized},
	{snapshot.ErrSnapshotNotFound, repository.ErrNotFound},
	{blob.ErrInvalidCredentials, repository.ErrBadCredentials},
	{errBadAttrs, repository.ErrCorrupt},
	{repo.ErrRepositoryUnavailableDueToUpgradeInProgress, repository.ErrBusy},
}

// byText maps the errors that can be recognised only by their text.
var byText = []struct {
	re   *regexp.Regexp
	kind error
}{
	{
		regexp.MustCompile(
			`(?i)unable to decrypt|message authentication failed|invalid (content )?hash|checksum|cannot decrypt|` +
				`error verifying content|backed by missing blob|content .*not found|invalid blob offset or length|` +
				`invalid length|unexpected content error|malformed|BLOB not found|` +
				`possible corruption`), repository.ErrCorrupt,
	},
	{
		regexp.MustCompile(
			`(?i)requires feature|unsupported format|not supported by this version|unable to handle required`),
		repository.ErrTooNew,
	},
}

func kindOf(err error) error {
	for _, s := range bySentinel {
		if errors.Is(err, s.sentinel) {
			return s.kind
		}
	}
	if errors.As(err, new(maintenance.NotOwnedError)) {
		return repository.ErrNotOwner
	}
	if k := repository.KindOf(err); k != nil {
		return k
	}
	for _, t := range byText {
		if t.re.MatchString(err.Error()) {
			return t.kind
		}
	}
	return nil
}

// bareErrno reports whether err comes from a system call of this package on the source of a backup or the target of a
// restore. An error of a storage holds more than a number: a path for local storage, a connection for the others.
func bareErrno(err error) bool {
	return errors.As(err, new(syscall.Errno)) && !errors.As(err, new(*fs.PathError)) &&
		!errors.As(err, new(*os.LinkError)) &&
		!errors.As(err, new(*os.SyscallError)) && !errors.As(err, new(*net.OpError))
}
