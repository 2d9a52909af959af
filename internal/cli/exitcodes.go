package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// The exit codes. "cairn help exit-codes" documents them.
const (
	// ExitOK is success; warnings of validate do not change it.
	ExitOK = 0
	// ExitError is an error, or findings of validate.
	ExitError = 1
	// ExitUsage is a command line that can't be understood.
	ExitUsage = 2
	// ExitFailed is a backup or restore that was waited for and failed.
	ExitFailed = 3
	// ExitSkipped is a backup or restore that was waited for and skipped.
	ExitSkipped = 4
	// ExitTimeout is a wait that took too long. What was waited for goes on.
	ExitTimeout = 5
)

const exitCodesText = `The exit codes of cairn:

  0  it worked; for validate: there are no errors (there may be warnings);
     with --wait: the backup or restore succeeded
  1  an error, said in one line on standard error; for validate: there are errors
  2  the command line can't be understood
  3  with --wait: the backup or restore failed, is invalid, or was deleted
  4  with --wait: the backup or restore was skipped
  5  with --wait: it has not ended within --timeout; it goes on in the cluster
`

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesText}
}

// exitError ends the program with a code. An empty message says nothing more than was already printed.
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &exitError{code: ExitUsage, message: fmt.Sprintf(format, args...)}
}

// exitCode is the code of an error and the line to print, which may be empty.
func exitCode(err error) (code int, line string) {
	if err == nil {
		return ExitOK, ""
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code, oneLine(exit.message)
	}
	if errors.Is(err, context.Canceled) {
		return ExitError, "interrupted"
	}
	return ExitError, oneLine(explain(err))
}

// oneLine is a text in one line, safe for a terminal.
func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

// printable keeps what a cluster or a Git history says from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
