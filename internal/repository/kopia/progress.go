package kopia

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/snapshot/upload"

	"github.com/cairn-backup/cairn/internal/repository"
)

// progress implements upload.Progress. It only counts, so a file costs next to nothing; a ticker reports the counts.
type progress struct {
	upload.NullUploadProgress                               // Enabled is false: no second walk to estimate sizes
	done, unchanged, read, same, sent, unreadable, vanished atomic.Int64
	current                                                 atomic.Pointer[string]
	mu                                                      sync.Mutex
	problems                                                []repository.Problem
	left                                                    rules // LeftOut and More
	stop                                                    func()
	flush                                                   chan struct{}         // receives every 10,000 files
	storage                                                 atomic.Pointer[error] // the first error of the repository
	muted                                                   atomic.Bool           // counted files are read again
	cancel                                                  func()
}

// found is what a pass met in the source.
type found struct {
	unreadable, vanished int64
	problems             []repository.Problem
	left                 rules
}

func (p *progress) found() found {
	p.mu.Lock()
	defer p.mu.Unlock()
	return found{p.unreadable.Load(), p.vanished.Load(), p.problems, p.left}
}

// set takes back what a later pass met.
func (p *progress) set(f found) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems, p.left = f.problems, f.left
	p.unreadable.Store(f.unreadable)
	p.vanished.Store(f.vanished)
}

// readAgain forgets the problems of the source before it is read once more. Finished files stay counted, once.
func (p *progress) readAgain() {
	p.muted.Store(true)
	p.unreadable.Store(0)
	p.vanished.Store(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems, p.left = nil, rules{}
}

func newProgress(o repository.BackupOptions) *progress {
	p := &progress{stop: func() {}, flush: make(chan struct{}, 1)}
	if o.Progress == nil {
		return p
	}
	quit, done := make(chan struct{}), make(chan struct{})
	p.stop = func() { close(quit); <-done }
	go func() {
		defer close(done)
		t := time.NewTicker(cmp.Or(o.ProgressEvery, time.Second))
		defer t.Stop()
		for {
			select {
			case <-t.C:
				o.Progress(p.snapshot())
			case <-quit:
				o.Progress(p.snapshot())
				return
			}
		}
	}()
	return p
}

func (p *progress) snapshot() repository.Progress {
	s := repository.Progress{
		FilesDone: p.done.Load(), FilesUnchanged: p.unchanged.Load(), BytesRead: p.read.Load(),
		BytesUnchanged: p.same.Load(), BytesSent: p.sent.Load(), Unreadable: p.unreadable.Load(),
	}
	if c := p.current.Load(); c != nil {
		s.Current = *c
	}
	return s
}

// unchangedFile counts a file that is the same as in the previous snapshot.
func (p *progress) unchangedFile(size int64) {
	if !p.muted.Load() {
		p.unchanged.Add(1)
		p.same.Add(size)
	}
}

func (p *progress) FinishedFile(path string, err error) {
	if err == nil && !strings.HasSuffix(path, attrName) && !p.muted.Load() && p.done.Add(1)%10_000 == 0 {
		select {
		case p.flush <- struct{}{}:
		default:
		}
	}
}

func (p *progress) StartedDirectory(d string) { p.current.Store(&d) }

func (p *progress) HashedBytes(n int64) {
	if !p.muted.Load() {
		p.read.Add(n)
	}
}

func (p *progress) Error(path string, err error, _ bool) {
	if !errors.As(err, new(*sourceError)) {
		if p.storage.CompareAndSwap(nil, &err) && p.cancel != nil {
			p.cancel()
		}
		return
	}
	p.mu.Lock()
	p.left.leaveOut(path)
	p.mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		p.vanished.Add(1)
		return
	}
	p.unreadable.Add(1)
	p.addProblem(repository.Problem{Path: path, Err: err})
}

func (p *progress) addProblem(x repository.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, x)
	}
}

func (p *progress) problemList() []repository.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]repository.Problem(nil), p.problems...)
}

func (p *progress) first() error {
	if l := p.problemList(); len(l) > 0 {
		return fmt.Errorf("%s: %w", l[0].Path, l[0].Err)
	}
	return nil
}
