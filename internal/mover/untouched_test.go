package mover_test

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// cutOff loses its storage before a restore, or once the restore is complete.
type cutOff struct {
	repository.Driver
	after bool
}

func (d cutOff) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	e, err := d.Driver.Open(ctx, r)
	return lostStorage{e, d.after}, err
}

type lostStorage struct {
	repository.Engine
	after bool
}

func (e lostStorage) Restore(ctx context.Context, id, target string, opt repository.RestoreOptions) (
	r repository.RestoreResult, err error,
) {
	if e.after {
		if r, err = e.Engine.Restore(ctx, id, target, opt); err != nil {
			return r, err
		}
	}
	return r, &repository.Error{Op: "restore", Kind: repository.ErrUnreachable, Err: errors.New("no route")}
}

// Between two attempts somebody can put data into a volume that the first one left empty. The second must not take it
// for its own.
func TestARestoreThatWroteNothingHasNothingToResume(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ after, resume, written bool }{
		"nothing was written":                          {},
		"nothing was written, and nothing was left":    {resume: true},
		"something was written":                        {after: true, written: true},
		"something was written, by the second attempt": {after: true, resume: true, written: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := initialised(t)
			p.write("cairn/volumes/pvc/file", "hello")
			c := p.backs("snap-1", nil, "")
			p.mount("new", t.TempDir())
			p.mover.Driver = cutOff{kopia.Driver{}, tt.after}
			in := restoreTask(c.ID)
			in.Components[0].Resume = tt.resume
			_, result := p.run(t.Context(), in)
			r := result.Components[0]
			g.Expect(r.Reason).To(Equal(v1alpha1.ReasonUnreachable), r.Error)
			g.Expect(r.TargetWritten).To(Equal(tt.written))
			g.Expect(r.TargetEmpty).To(BeFalse(), "it could be written to")
			told := p.reports.restores["new"]
			g.Expect(told[0].TargetWritten).To(BeTrue(), "a mover that is killed now may have written")
			g.Expect(told[len(told)-1].TargetWritten).To(Equal(tt.written))
		})
	}
}
