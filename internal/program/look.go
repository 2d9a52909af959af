package program

import (
	"context"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Look reports as an *Error why the program of spec can't be started: there is no such file, nobody can run it, or its
// working directory is missing where it would run. It starts nothing and writes nothing. So a caller can ask before it
// removes what only the program can make again. A nil error is no promise: only a start shows what the kernel says.
func Look(ctx context.Context, spec Spec) error {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return &Error{Message: "no program to run"}
	}
	if spec.Socket == "" {
		if refused := look(spec); refused != nil {
			return refused.error(spec)
		}
		return nil
	}
	conn, a, _, err := converse(ctx, spec, stdio{}, request{Look: true, Args: spec.Args[:1], Dir: lookedDir(spec)},
		stateFound, stateRefused)
	if err != nil {
		return err
	}
	_ = conn.Close()
	if a.Refused != nil {
		return a.Refused.error(spec)
	}
	return nil
}

// look looks for a program of this container.
func look(spec Spec) *refusal {
	if _, err := exec.LookPath(spec.Args[0]); err != nil {
		r := notStarted(err)
		return &r
	}
	if dir := lookedDir(spec); dir != "" {
		if err := unix.Access(dir, unix.X_OK); err != nil {
			return &refusal{Fault: FaultDirectory}
		}
	}
	return nil
}

// lookedDir returns the working directory, unless a start makes it.
func lookedDir(spec Spec) string {
	if spec.Dir == spec.FilesDir {
		return ""
	}
	return spec.Dir
}
