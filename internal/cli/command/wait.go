package command

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/cairn-backup/cairn/internal/run"
)

// Waiting holds the flags of commands that can wait.
type Waiting struct {
	Wait    bool
	Timeout time.Duration
}

const defaultTimeout = 10 * time.Minute

// AddFlags adds --wait and --timeout to a command that starts something, named by what.
func (w *Waiting) AddFlags(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&w.Wait, "wait", false, "wait until the "+what+" has ended, and show its progress")
	cmd.Flags().DurationVar(&w.Timeout, "timeout", defaultTimeout, "how long to wait; the "+what+
		" itself goes on afterwards")
}

// Check refuses a timeout that ends at once.
func (w *Waiting) Check() error {
	if w.Timeout <= 0 {
		return Usagef("--timeout must be longer than zero, for example 10m")
	}
	return nil
}

// Progress describes how a run or restore is doing.
type Progress struct {
	// Parts describes each part, in order. A changed text is printed.
	Parts []Part
	// Phase is the phase of the whole. ended is true for a terminal phase.
	Phase string
	Ended bool
	// End describes how it ended, and Warning what is to be known of a success.
	End, Warning string
}

// Part is one line of progress: the prefix of the line and its text.
type Part struct{ Name, Text string }

// Follow calls look until the object has ended, prints what changes, and turns the terminal phase into an exit code.
func Follow(ctx context.Context, o Options, what string, timeout time.Duration,
	look func(context.Context) (Progress, error),
) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seen := map[string]string{}
	var last Progress
	var trouble error
	err := wait.PollUntilContextCancel(limited, o.Poll, true, func(ctx context.Context) (bool, error) {
		p, err := look(ctx)
		if trouble = err; err != nil {
			if isTransient(err) {
				return false, nil
			}
			return false, err
		}
		last = p
		for _, x := range p.Parts {
			if seen[x.Name] != x.Text {
				seen[x.Name] = x.Text
				fmt.Fprintln(o.Out, OneLine(x.Name+x.Text))
			}
		}
		return p.Ended, nil
	})
	switch {
	case apierrors.IsNotFound(err):
		return &CodedError{exitFailed, what + " was deleted before it ended"}
	case err != nil && ctx.Err() != nil:
		return &CodedError{ExitError, "interrupted: " + what + " goes on in the cluster"}
	case err != nil && limited.Err() != nil:
		message := fmt.Sprintf("%s has not ended within %s and goes on in the cluster", what, timeout)
		if trouble != nil && !errors.Is(trouble, context.DeadlineExceeded) {
			message += "; the last attempt to read it failed: " + explain(trouble)
		}
		return &CodedError{exitTimeout, message}
	case err != nil:
		return fmt.Errorf("get %s: %w", what, err)
	}
	return last.result(o, what)
}

func (p Progress) result(o Options, what string) error {
	line := what + " " + strings.ToLower(p.Phase) + p.End
	switch p.Phase {
	case "Succeeded":
		fmt.Fprintln(o.Out, OneLine(line))
		if p.Warning != "" {
			fmt.Fprintln(o.ErrOut, OneLine("warning: "+p.Warning))
		}
		return nil
	case "Skipped":
		return &CodedError{exitSkipped, line}
	}
	return &CodedError{exitFailed, line}
}

// isTransient reports whether an error can be gone at the next attempt.
func isTransient(err error) bool {
	var network *url.Error
	return errors.As(err, &network) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// AddWait adds, before the parts of a run or restore, what the message of Ready says if it waits, or if it has no parts
// yet.
func (p *Progress) AddWait(hasParts bool, message string) {
	switch {
	case p.Ended:
	case !hasParts:
		p.Parts = append(p.Parts, Part{Text: WaitingState(p.Phase, message)})
	case run.IsWaiting(message):
		p.Parts = append(p.Parts, Part{Text: message})
	}
}

// WaitingState describes a run or restore that has no parts yet.
func WaitingState(p, message string) string {
	state := strings.ToLower(Phase(p))
	if message != "" {
		state += ": " + message
	}
	return state
}

// Ending says how long a run or restore took and, if it did not succeed, why. One that failed as it began took no time:
// it can have waited for minutes before, which the duration does not count.
func Ending(phase, why, duration, message string) string {
	text := ""
	if duration != "" && (duration != "0s" || phase == "Succeeded") {
		text = " in " + duration
	}
	if phase == "Succeeded" {
		return text
	}
	return text + ReasonText(phase, why, strings.TrimPrefix(message, why+": "))
}
