package kopia

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"
	"github.com/kopia/kopia/snapshot/upload"

	"github.com/cairn-backup/cairn/internal/repository"
)

// stream stores one file without the uploader: after a read error the uploader returns a snapshot without the file,
// and no error.
func (b *backup) stream(ctx, kctx context.Context, w repo.RepositoryWriter) (*snapshot.Manifest, details, error) {
	start := w.Time()
	doubted, err := isDoubted(kctx, w, b.src.Name)
	if err != nil {
		return nil, details{}, err
	}
	if doubted {
		b.lost.read.start()
	}
	ow := w.NewObjectWriter(kctx, object.WriterOptions{
		Description: "STREAM:" + b.src.Name, Compressor: b.comp,
		MetadataCompressor: "zstd-fastest", AsyncWrites: cmp.Or(b.opt.Parallel, defaultParallel),
	})
	defer func() { _ = ow.Close() }()
	n, err := copyStream(ctx, ow, b.src.Stream, b.progress, b.keeper(kctx, w, ow, start))
	if err != nil {
		return nil, details{}, err
	}
	oid, err := ow.Result()
	if err == nil {
		err = b.stillThere(kctx, w, start, func() error { return b.verifyObject(kctx, w, oid) })
	}
	if err != nil {
		return nil, details{}, err
	}
	man, err := b.streamManifest(kctx, w, oid, n, start)
	return man, details{Files: 1, Bytes: n, Stream: true}, err
}

// streamManifest writes the directory of a stream and returns its manifest, which is not saved yet.
func (b *backup) streamManifest(
	ctx context.Context, w repo.RepositoryWriter, oid object.ID, size int64, start time.Time,
) (*snapshot.Manifest, error) {
	now := fs.UTCTimestampFromTime(w.Time())
	file := &snapshot.DirEntry{
		Name: encodeName(cmp.Or(b.src.File, "stream")), Type: snapshot.EntryTypeFile, Permissions: 0o600,
		FileSize: size, ModTime: now, ObjectID: oid,
	}
	var dir snapshotfs.DirManifestBuilder
	dir.AddEntry(file)
	dm := dir.Build(now, "")
	doid, err := snapshotfs.WriteDirManifest(ctx, w, ".", dm, "zstd-fastest")
	if err != nil {
		return nil, err
	}
	return &snapshot.Manifest{
		Source: source(b.src.Name), StartTime: fs.UTCTimestampFromTime(start), EndTime: now,
		RootEntry: &snapshot.DirEntry{
			Name: "stream", Type: snapshot.EntryTypeDirectory, Permissions: 0o700, ModTime: now, ObjectID: doid,
			DirSummary: dm.Summary,
		},
	}, nil
}

// keeper returns a function that keeps at intervals what ow has written, so that a retry can reuse it. Maintenance
// drops contents that are older than a day and in no manifest, so an incomplete manifest holds those of a long stream.
func (b *backup) keeper(
	ctx context.Context, w repo.RepositoryWriter, ow object.Writer, start time.Time,
) func(size int64) error {
	every := cmp.Or(b.opt.CheckpointEvery, defaultCheckpoint)
	next := b.e.now().Add(every)
	return func(size int64) error {
		now := b.e.now()
		if now.Before(next) {
			return nil
		}
		next = now.Add(every)
		oid, err := ow.Checkpoint()
		if err != nil {
			return err
		}
		if oid != object.EmptyID {
			man, err := b.streamManifest(ctx, w, oid, size, start)
			if err == nil {
				err = b.keepForNext(ctx, w, man, upload.IncompleteReasonCheckpoint, nil)
			}
			if err != nil {
				return err
			}
		}
		return w.Flush(ctx)
	}
}

func copyStream(
	ctx context.Context, w io.Writer, r io.Reader, p *progress, keep func(size int64) error,
) (total int64, _ error) {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return total, context.Cause(ctx)
		}
		n, rerr := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
			p.read.Add(int64(n))
			if err := keep(total); err != nil {
				return total, err
			}
		}
		if rerr == io.EOF { // only io.EOF itself: a wrapped EOF is an error of the producer
			p.done.Add(1)
			return total, nil
		}
		if rerr != nil {
			return total, &repository.Error{Op: "backup", Kind: repository.ErrSource, Err: rerr}
		}
	}
}

// RestoreStream writes a snapshot of a stream to w.
func (e *repoEngine) RestoreStream(ctx context.Context, id string, w io.Writer) (err error) {
	ctx, stop := e.ctx(ctx)
	defer stop()
	defer func() { e.saw(id, err) }()
	_, man, err := e.root(ctx, id)
	if err != nil {
		return classify("restore", cause(ctx, err))
	}
	if !parseDetails(man).Stream {
		return &repository.Error{Op: "restore", Err: errors.New("not a snapshot of a stream")}
	}
	dm, err := e.readDir(ctx, man.RootEntry.ObjectID)
	if err != nil || len(dm.Entries) != 1 {
		return classify("restore", firstError(err, errBadAttrs))
	}
	file := dm.Entries[0]
	if file.FileSize == 0 {
		return nil
	}
	rd, err := e.rep.OpenObject(ctx, file.ObjectID)
	if err != nil {
		return classify("restore", cause(ctx, err))
	}
	defer func() { _ = rd.Close() }()
	n, err := io.CopyBuffer(targetWriter{w}, rd, make([]byte, 1<<20))
	if err == nil && n != file.FileSize {
		err = errors.New("malformed snapshot: the stream has another size than its directory says")
	}
	return classify("restore", cause(ctx, err))
}

// targetWriter gives write errors the kind ErrTarget: they are not errors of the storage.
type targetWriter struct{ w io.Writer }

func (t targetWriter) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	if err != nil {
		err = &repository.Error{Op: "restore", Kind: repository.ErrTarget, Err: err}
	}
	return n, err
}
