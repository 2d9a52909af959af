// Package failure turns errors of a mover into a reason and a message that anybody is allowed to read.
package failure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
)

// kinds maps errors of engine and storage to the API's reasons and to messages that say what to do.
var kinds = []struct {
	kind            error
	reason, message string
}{
	{repository.ErrCanceled, v1alpha1.ReasonCancelled, "the mover was told to stop"},
	{
		repository.ErrWrongPassword, v1alpha1.ReasonWrongPassword,
		"the password in the encryption Secret does not open the repository",
	},
	{
		repository.ErrNotInitialized, v1alpha1.ReasonRepositoryDamaged,
		"the repository is gone: its key (kopia/kopia.repository) and the copy of it (kopia/kopia.key.copy), in a " +
			"volume or on a file server with the ending .f, are missing. Bring one of them back, and look at the " +
			"Repository",
	},
	{repository.ErrCorrupt, v1alpha1.ReasonRepositoryDamaged, "data of the repository is damaged or missing"},
	{repository.ErrTooNew, v1alpha1.ReasonRepositoryNotReady, "the repository was written by a newer version"},
	{repository.ErrBusy, v1alpha1.ReasonRepositoryNotReady, "the repository is in exclusive use"},
	{
		repository.ErrNoBucket, v1alpha1.ReasonBucketNotFound,
		"the bucket or volume that the BackupStorage names does not exist: create it, or correct spec.storage",
	},
	{
		repository.ErrBadCredentials, v1alpha1.ReasonBadCredentials,
		"the storage refused the credential: check the keys of its Secret",
	},
	{
		repository.ErrAccessDenied, v1alpha1.ReasonAccessDenied,
		"the storage denied access: check what its credential may do",
	},
	{
		repository.ErrStorageFull, v1alpha1.ReasonStorageFull,
		"the storage is full: enlarge it, or remove backups and wait for their room, which can take weeks",
	},
	{
		repository.ErrArchived, v1alpha1.ReasonArchived,
		"the storage has moved data of the repository into an archive class, from which nothing can be read: end the " +
			"lifecycle rule that does so, and bring the objects back into a class that can be read at once",
	},
	{repository.ErrClockSkew, v1alpha1.ReasonClockSkew, "the clocks of node and storage differ too much"},
	{
		repository.ErrUntrusted, v1alpha1.ReasonStorageNotTrusted,
		"the storage's server presented a certificate or host " +
			"key that is not trusted: check the CA, the fingerprint or known_hosts",
	},
	{repository.ErrUnreachable, v1alpha1.ReasonUnreachable, "the storage can't be reached"},
	{repository.ErrPartial, v1alpha1.ReasonUnreadable, Unreadable},
	{repository.ErrSource, v1alpha1.ReasonUnreadable, "the volume could not be read"},
	{
		repository.ErrInTheWay, v1alpha1.ReasonTargetUnwritable,
		"a directory of the volume has the name of a file in the " +
			"Snapshot, or a file has the name of a directory: remove it, or set overwritePolicy: Overwrite and " +
			"deleteExtraFiles: true",
	},
	{
		repository.ErrSameName, v1alpha1.ReasonFileNamesCollide,
		"a directory of the Snapshot has names that differ only in case, or in the form of their letters, and the " +
			"file system of the volume takes them for one: restore into a volume whose file system tells them apart, " +
			"or leave all but one of them out with the parameter exclude. The log of the mover names them",
	},
	{repository.ErrTarget, v1alpha1.ReasonTargetUnwritable, "the volume could not be written: " + AsWriter},
	{
		repository.ErrNotFound, v1alpha1.ReasonSnapshotNotFound,
		"the repository no longer holds the data: restore another Snapshot (cairn get snapshots lists them)",
	},
}

// AsWriter says as whom a restore can write to its volume.
const AsWriter = "run as a user who is allowed to write to it (cairn restore --run-as-user, or " +
	"jobTemplate.spec.securityContext)"

// ToWrite says what to do about a place in a volume that could not be written to.
func ToWrite(err error) string {
	if errors.Is(err, syscall.EROFS) {
		return "it is read-only: mount it to be written to, or restore into another volume"
	}
	return AsWriter
}

// partlyReadOnly says what to do about a volume of which a part could not be written. The engine logs which.
const partlyReadOnly = "it is read-only, or shows a directory that is, such as the snapshots of a file server. Leave " +
	"such a directory out with the parameter exclude: the log of the mover names it"

// Unreadable is the message of a backup that could not read all files.
const Unreadable = "some files could not be read: run as a user who is allowed to read them " +
	"(jobTemplate.spec.securityContext); " +
	"successPolicy.unreadable: Allow would accept a backup of the others"

// ClassifyInit turns an error of an init task into a failure. It shows the whole text, which can't name a user's
// file.
func ClassifyInit(err error) *Failure {
	return classify(err, err)
}

// ClassifyMove turns an error of a backup or restore into a failure. It shows only the root cause of an error,
// because the text around it can name a user's file. Of an error of source or target it shows only the system's error
// number, if there is one.
func ClassifyMove(err error) *Failure {
	switch {
	case errors.Is(err, repository.ErrPartial) || errors.Is(err, repository.ErrInTheWay) ||
		errors.Is(err, repository.ErrSameName):
		return classify(err, nil)
	case errors.Is(err, repository.ErrSource) || errors.Is(err, repository.ErrTarget):
		var number syscall.Errno
		if !errors.As(err, &number) {
			return classify(err, nil)
		}
		if errors.Is(err, repository.ErrTarget) && repository.IsFull(number) {
			return New(v1alpha1.ReasonTargetUnwritable, withCause(full(err), nil, number))
		}
		if errors.Is(err, repository.ErrTarget) && number == syscall.EROFS {
			return New(v1alpha1.ReasonTargetUnwritable,
				withCause("the volume could not be written: "+partlyReadOnly, nil, number))
		}
		return classify(err, number)
	}
	return classify(err, rootCause(err))
}

// full returns the message of a target without room.
func full(err error) string {
	const message = "the target is full: give it more room"
	var says *repository.TargetFull
	if !errors.As(err, &says) {
		return message
	}
	var more []string
	const mib = 1 << 20
	if says.Left >= 0 {
		more = append(more, fmt.Sprintf("%d MiB left", says.Left/mib))
		if says.Needs >= mib {
			more = append(more, fmt.Sprintf("and a file needs %d MiB", (says.Needs+mib-1)/mib))
		}
	}
	if says.Links {
		more = append(more, "old files with hard links take room until all their names are replaced")
	}
	if more == nil {
		return message
	}
	return fmt.Sprintf("%s (%s)", message, strings.Join(more, ", "))
}

// ClassifyOpen turns an error of opening an initialised repository into a failure. The password in the Repository's own
// Secret fitted once, and a Repository never names another Secret. That of a Secret that a restore named may never have
// fitted: named is its <namespace>/<name>, or empty.
func ClassifyOpen(err error, named string) *Failure {
	switch {
	case !errors.Is(err, repository.ErrWrongPassword):
		return ClassifyInit(err)
	case named != "":
		return New(v1alpha1.ReasonWrongPassword, fmt.Sprintf("the password in Secret %s, which "+
			"dataSource.encryptionSecret names, does not open the repository: correct it, and restore again", named))
	default:
		return PasswordChanged()
	}
}

// PasswordChanged is the failure of a password that opened the repository before and does not any more.
func PasswordChanged() *Failure {
	return New(v1alpha1.ReasonPasswordChanged,
		"the password in the encryption Secret is no longer the one with which the repository was initialised: "+
			"restore "+
			"that password")
}

func classify(err, shown error) *Failure {
	if f := AsFailure(err); f != nil {
		return f
	}
	if errors.Is(err, context.Canceled) {
		err, shown = repository.ErrCanceled, nil
	}
	if errors.Is(err, repository.ErrNotInitialized) {
		shown = nil // It would only say in other words that something is missing.
	}
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return New(k.reason, withCause(k.message, k.kind, shown))
		}
	}
	return New(v1alpha1.ReasonFailed, withCause("the mover failed", nil, shown))
}

// withCause adds the cause if it says more than its kind.
func withCause(message string, kind, cause error) string {
	if cause == nil || cause == kind || errors.Is(kind, repository.ErrCanceled) {
		return message
	}
	return message + ": " + repository.Redact(cause.Error())
}

// rootCause follows err to its end. Of several branches it takes the last, where package repository puts the cause.
func rootCause(err error) error {
	for {
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			next := e.Unwrap()
			if next == nil {
				return err
			}
			err = next
		case interface{ Unwrap() []error }:
			branches := e.Unwrap()
			if len(branches) == 0 {
				return err
			}
			err = branches[len(branches)-1]
		default:
			return err
		}
	}
}

// Failure is an error with a reason, and with a message that anybody is allowed to read: it has no credential and no
// name of a user's file.
type Failure struct {
	// Reason is one word, a constant of the API.
	Reason string
	// Message is a sentence.
	Message string
}

// New returns a failure.
func New(reason, message string) *Failure {
	return &Failure{Reason: reason, Message: message}
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// AsFailure finds a failure in err's chain.
func AsFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return nil
}
