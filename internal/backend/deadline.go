package backend

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// deadline ends a call if the storage has not answered for a while. Its error differs from the error
// of a caller's context that has ended.
type deadline struct {
	caller context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	within time.Duration
}

func (s *s3Store) deadline(caller context.Context) (context.Context, *deadline) {
	return newDeadline(caller, s.within)
}

func newDeadline(caller context.Context, within time.Duration) (context.Context, *deadline) {
	d := &deadline{caller: caller, within: within}
	d.ctx, d.cancel = context.WithCancelCause(caller)
	d.timer = time.AfterFunc(within, func() { d.cancel(context.DeadlineExceeded) })
	return d.ctx, d
}

// answered restarts the time.
func (d *deadline) answered() { d.timer.Reset(d.within) }

func (d *deadline) stop() {
	d.timer.Stop()
	d.cancel(nil)
}

func (d *deadline) classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if d.caller.Err() == nil && d.ctx.Err() != nil {
		return &repository.Error{
			Op: op, Kind: repository.ErrUnreachable, Err: fmt.Errorf("no answer within %v", d.within),
		}
	}
	if named := cloud.Classify(op, err); named != nil {
		return named
	}
	return classify(op, err)
}
