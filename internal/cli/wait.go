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

// waiting are the flags of commands that can wait.
type waiting struct {
	wait    bool
	timeout time.Duration
}

const defaultTimeout = 10 * time.Minute

func (w *waiting) addFlags(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until the "+what+" has ended, and show how it goes on")
	cmd.Flags().DurationVar(&w.timeout, "timeout", defaultTimeout, "how long to wait; the "+what+" itself goes on after that")
}

func (w *waiting) check() error {
	if w.timeout <= 0 {
		return usagef("--timeout is how long to wait: give a time such as 10m")
	}
	return nil
}

// progress is how something is doing.
type progress struct {
	// parts and how each is doing, in order. A change of the text is printed.
	parts []part
	// phase of the whole, and whether it is a last one.
	phase string
	ended bool
	// end says how it ended.
	end string
}

type part struct{ name, text string }

// follow looks until what has ended, prints what changes, and turns the last phase into an exit code.
func follow(ctx context.Context, o Options, what string, timeout time.Duration, look func(context.Context) (progress, error)) error {
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
		message := fmt.Sprintf("%s has not ended in %s and goes on in the cluster", what, timeout)
		if trouble != nil && !errors.Is(trouble, context.DeadlineExceeded) {
			message += "; the last look at it failed: " + explain(trouble)
		}
		return &exitError{ExitTimeout, message}
	case err != nil:
		return fmt.Errorf("look at %s: %w", what, err)
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

// passing says whether an error may be gone at the next look.
func passing(err error) bool {
	var network *url.Error
	return errors.As(err, &network) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}
