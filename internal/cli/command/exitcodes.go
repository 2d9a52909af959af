package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// Exit codes, documented by "cairn help exit-codes".
const (
	// ExitOK means success. Warnings of validate do not change it.
	ExitOK = 0
	// ExitError means an error, that validate found errors, or that doctor found something that deviates.
	ExitError = 1
	// exitUsage means that the command line is wrong.
	exitUsage = 2
	// exitFailed means that the awaited backup or restore failed.
	exitFailed = 3
	// exitSkipped means that the awaited backup or restore was skipped.
	exitSkipped = 4
	// exitTimeout means that the wait took too long. The backup or restore goes on.
	exitTimeout = 5
)

const exitCodesText = `The exit codes of cairn:

  0  success; for validate and doctor: there are no errors (there can be warnings);
     with --wait: the backup or restore succeeded
  1  an error, in one line on standard error; for validate: there are errors; for doctor: something deviates, or
     could not be read
  2  the command line is wrong
  3  with --wait: the backup or restore failed, is invalid, or was deleted
  4  with --wait: the backup or restore was skipped
  5  with --wait: the backup or restore did not end within --timeout; it goes on in the cluster
`

// ExitCodesTopic returns the help topic about exit codes.
func ExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "Meaning of the exit codes", Long: exitCodesText}
}

// CodedError ends the program with a code. If the message is empty, nothing is printed.
type CodedError struct {
	Code    int
	message string
}

// Error returns the message.
func (e *CodedError) Error() string { return e.message }

// Usagef returns an error of the user, which ends the program with the code for wrong usage.
func Usagef(format string, args ...any) error {
	return &CodedError{Code: exitUsage, message: fmt.Sprintf(format, args...)}
}

// ExitCode returns the exit code of an error, and the line to print, which can be empty.
func ExitCode(err error) (code int, line string) {
	if err == nil {
		return ExitOK, ""
	}
	var exit *CodedError
	if errors.As(err, &exit) {
		return exit.Code, OneLine(exit.message)
	}
	if errors.Is(err, context.Canceled) {
		return ExitError, "interrupted"
	}
	return ExitError, OneLine(explain(err))
}

// OneLine returns a text as one line that is safe for a terminal.
func OneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

// printable removes control characters, with which a cluster or a Git history could steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
