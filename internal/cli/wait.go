package cli

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
)

// waiting holds the flags of commands that can wait.
type waiting struct {
	wait    bool
	timeout time.Duration
}

const defaultTimeout = 10 * time.Minute

func (w *waiting) addFlags(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until the "+what+" has ended, and show its progress")
	cmd.Flags().DurationVar(&w.timeout, "timeout", defaultTimeout, "how long to wait; the "+what+
		" itself goes on afterwards")
}

func (w *waiting) check() error {
	if w.timeout <= 0 {
		return usagef("--timeout must be longer than zero, for example 10m")
	}
	return nil
}

// progress describes how a run or restore is doing.
type progress struct {
	// parts describes each part, in order. A changed text is printed.
	parts []part
	// phase is the phase of the whole. ended says whether it is terminal.
	phase string
	ended bool
	// end describes how it ended.
	end string
}

type part struct{ name, text string }

// follow calls look until the object has ended, prints what changes, and turns the terminal phase into an exit code.
func follow(ctx context.Context, o Options, what string, timeout time.Duration,
	look func(context.Context) (progress, error)) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seen := map[string]string{}
	var last progress
	var trouble error
	err := wait.PollUntilContextCancel(limited, o.Poll, true, func(ctx context.Context) (bool, error) {
		p, err := look(ctx)
		if trouble = err; err != nil {
			if passing(err) {
				return false, nil
			}
			return false, err
		}
		last = p
		for _, x := range p.parts {
			if seen[x.name] != x.text {
				seen[x.name] = x.text
				fmt.Fprintln(o.Out, oneLine(x.name+x.text))
			}
		}
		return p.ended, nil
	})
	switch {
	case apierrors.IsNotFound(err):
		return &exitError{ExitFailed, what + " was deleted before it ended"}
	case err != nil && ctx.Err() != nil:
		return &exitError{ExitError, "interrupted: " + what + " goes on in the cluster"}
	case err != nil && limited.Err() != nil:
		message := fmt.Sprintf("%s has not ended within %s and goes on in the cluster", what, timeout)
		if trouble != nil && !errors.Is(trouble, context.DeadlineExceeded) {
			message += "; the last attempt to read it failed: " + explain(trouble)
		}
		return &exitError{ExitTimeout, message}
	case err != nil:
		return fmt.Errorf("get %s: %w", what, err)
	}
	return last.result(o, what)
}

func (p progress) result(o Options, what string) error {
	said := what + " " + strings.ToLower(p.phase) + p.end
	switch p.phase {
	case "Succeeded":
		fmt.Fprintln(o.Out, oneLine(said))
		return nil
	case "Skipped":
		return &exitError{ExitSkipped, said}
	}
	return &exitError{ExitFailed, said}
}

// passing reports whether an error can be gone at the next attempt.
func passing(err error) bool {
	var network *url.Error
	return errors.As(err, &network) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}
