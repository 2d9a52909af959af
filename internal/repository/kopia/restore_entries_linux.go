package kopia

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

// newRestorer finds the requested path in a snapshot and opens the target. The caller closes the target.
func (e *repoEngine) newRestorer(
	ctx context.Context, op, id, target string, opt repository.RestoreOptions,
) (*restorer, error) {
	_, man, err := e.root(ctx, id)
	if err != nil {
		return nil, classify(op, cause(ctx, err))
	}
	left, mounts := newLeftOut(man, opt.Path)
	mounts = repository.MountsIn(slices.Concat(mounts, opt.Mounts), left.below)
	sel, err := repository.NewSelection(opt.Include, opt.Exclude, mounts...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	de, err := e.find(ctx, man.RootEntry, opt.Path)
	if err != nil {
		return nil, classify(op, cause(ctx, err))
	}
	fd, err := unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &repository.Error{Op: op, Kind: repository.ErrTarget, Err: fmt.Errorf("open %s: %w", target, err)}
	}
	extra := cmp.Or(opt.Parallel, defaultParallel)
	if extra == 1 {
		extra = 0 // this goroutine does all
	}
	return &restorer{
		e: e, id: id, opt: opt, fd: fd, root: man.RootEntry, entry: de, sel: sel, left: left,
		slots: make(chan struct{}, max(0, extra)), links: map[linkID]*linkGroup{},
	}, nil
}

// each calls do for the selected entries of a directory, in parallel where workers are free, and waits for all
// calls. It calls bad for malformed names. It ends at the first error of do or bad.
func (r *restorer) each(ctx context.Context, rel string, dm *snapshot.DirManifest,
	bad func(*snapshot.DirEntry, error) error, do func(name string, x *snapshot.DirEntry, selected bool) error,
) error {
	var wg sync.WaitGroup
	var stop atomic.Pointer[error]
	for _, x := range dm.Entries {
		if x.Name == attrName {
			continue
		}
		if ctx.Err() != nil || stop.Load() != nil {
			break
		}
		name, err := decodeName(x.Name)
		if err != nil {
			if err := bad(x, err); err != nil {
				stop.CompareAndSwap(nil, &err)
			}
			continue
		}
		selected, enter := r.sel.Takes(path.Join(rel, name), x.Type == snapshot.EntryTypeDirectory)
		if !selected && !enter {
			continue
		}
		work := func() {
			if err := do(name, x, selected); err != nil {
				stop.CompareAndSwap(nil, &err)
			}
		}
		select {
		case r.slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-r.slots }()
				work()
			})
		default:
			work()
		}
	}
	wg.Wait()
	if err := stop.Load(); err != nil {
		return *err
	}
	return nil
}
