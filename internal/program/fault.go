package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"syscall"
)

// Fault is why a program was not started.
type Fault string

// The values of Fault.
const (
	// FaultMissing means that there is no such program.
	FaultMissing Fault = "missing"
	// FaultNotExecutable means that the file is no program, or its user is not allowed to run it.
	FaultNotExecutable Fault = "notExecutable"
	// FaultRefused means that the kernel refused to start it.
	FaultRefused Fault = "refused"
	// FaultFiles means that Spec.FilesDir could not be made.
	FaultFiles Fault = "files"
	// FaultFile means that one of Spec.Files could not be written.
	FaultFile Fault = "file"
	// FaultDirectory means that Spec.Dir is missing, or closed to the program's user.
	FaultDirectory Fault = "directory"
	// FaultSourceMissing means that Spec.Source is missing, or empty.
	FaultSourceMissing Fault = "sourceMissing"
	// FaultSourceUnreadable means that the program's user is not allowed to read Spec.Source.
	FaultSourceUnreadable Fault = "sourceUnreadable"
	// FaultUnanswered means that nobody answers at Spec.Socket, or nobody that can be understood.
	FaultUnanswered Fault = "unanswered"
)

// faults lists what a Server can say.
var faults = []Fault{
	FaultMissing, FaultNotExecutable, FaultRefused, FaultFiles, FaultFile, FaultDirectory, FaultSourceMissing,
	FaultSourceUnreadable,
}

// refusal is a Fault with what its message needs. It has no argument and no content of a file.
type refusal struct {
	Fault Fault `json:"fault"`
	// Errno of FaultRefused.
	Errno uint8 `json:"errno,omitempty"`
	// File is the index in Spec.Files of FaultFile.
	File int `json:"file,omitempty"`
}

// error returns the refusal to run spec as an error. Whatever a Server says, the words are from here.
func (r refusal) error(spec Spec) error {
	name := nameOf(spec)
	message := fmt.Sprintf("program %s can't be started", name)
	switch {
	case r.Fault == FaultMissing:
		message = "the image has no program " + name
	case r.Fault == FaultNotExecutable:
		message = fmt.Sprintf("program %s is not executable", name)
	case r.Fault == FaultRefused && r.Errno != 0:
		message += ": " + syscall.Errno(r.Errno).Error()
	case r.Fault == FaultFiles:
		message = "the directory for the program's files can't be created"
	case r.Fault == FaultFile && r.File >= 0 && r.File < len(spec.Files):
		message = fmt.Sprintf("file %q can't be written, and the program needs it", spec.Files[r.File].Name)
	case r.Fault == FaultDirectory:
		message = fmt.Sprintf("program %s can't enter its working directory", name)
	case r.Fault == FaultSourceMissing:
		message = fmt.Sprintf("directory %s is empty or missing", spec.Source)
	case r.Fault == FaultSourceUnreadable:
		message = fmt.Sprintf("directory %s can't be read", spec.Source)
	case !slices.Contains(faults, r.Fault):
		r.Fault = FaultRefused
	}
	return &Error{Message: message, Fault: r.Fault}
}

// notStarted returns why the kernel did not start a program.
func notStarted(err error) refusal {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return refusal{Fault: FaultMissing}
	case errors.Is(err, fs.ErrPermission):
		return refusal{Fault: FaultNotExecutable}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno < 256 {
		return refusal{Fault: FaultRefused, Errno: uint8(errno)}
	}
	return refusal{Fault: FaultRefused}
}
