package kopia

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
)

// uploadWriter is the repository writer of kopia's uploader. The uploader compresses and encrypts each file in a
// goroutine of its own, and copies the contents for it. That is faster for one big file. Where the uploader writes
// as many files at a time as there are cores, it only costs.
type uploadWriter struct {
	repo.RepositoryWriter
	open atomic.Int64 // files that are being written
}

// NewObjectWriter implements repo.RepositoryWriter.
func (w *uploadWriter) NewObjectWriter(ctx context.Context, opt object.WriterOptions) object.Writer {
	if opt.AsyncWrites == 0 {
		return w.RepositoryWriter.NewObjectWriter(ctx, opt)
	}
	if w.open.Add(1) >= int64(runtime.GOMAXPROCS(0)) {
		opt.AsyncWrites = 0
	}
	return &countedWriter{
		Writer: w.RepositoryWriter.NewObjectWriter(ctx, opt),
		closed: sync.OnceFunc(func() { w.open.Add(-1) }),
	}
}

type countedWriter struct {
	object.Writer
	closed func()
}

// Close implements io.Closer.
func (w *countedWriter) Close() error {
	defer w.closed()
	return w.Writer.Close()
}
