package kopia

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/snapshot"

	"github.com/cairn-backup/cairn/internal/repository"
)

const (
	maxProblems       = 100
	defaultParallel   = 4 // not the number of cores: it also hides the latency of the storage
	defaultCheckpoint = 10 * time.Minute
	flushEvery        = 100_000          // files; more would take more memory: 2 million files must fit in 450 MiB
	cancelGrace       = 20 * time.Second // to save what is done; a pod has 30 s from SIGTERM to SIGKILL
	tagPrefix         = "tag:"           // as kopia's own program, so that `kopia snapshot list --tags` works
)

var compressors = map[repository.Compression]compression.Name{
	repository.CompressionDefault: "zstd-fastest",
	repository.CompressionNone:    "none",
	repository.CompressionFast:    "s2-default",
	repository.CompressionBetter:  "zstd",
}

// neverCompress are the extensions of files that are compressed already. kopia does a binary search: keep them
// sorted.
var neverCompress = []string{
	".7z", ".avif", ".br", ".bz2", ".docx", ".gz", ".heic", ".jpeg", ".jpg", ".lz4", ".m4a", ".mkv", ".mov", ".mp3",
	".mp4", ".png", ".rar", ".tgz", ".webm", ".webp", ".xlsx", ".xz", ".zip", ".zst",
}

// details are counts that kopia's manifest has no field for. They are kept in the description of the snapshot.
type details struct {
	Files, Bytes, Dirs, Symlinks, HardLinks, Special, Sockets       int64 `json:",omitempty"`
	Unreadable, AttributesUnreadable, Vanished, Changed, Attributes int64 `json:",omitempty"`
	Restless                                                        int64 `json:",omitempty"`
	Stream                                                          bool  `json:",omitempty"`

	Rules     *rules   `json:",omitempty"`
	Unmatched []string `json:",omitempty"` // patterns of Rules.Exclude that matched nothing
}

func source(name string) snapshot.SourceInfo {
	return snapshot.SourceInfo{Host: identity, UserName: identity, Path: name}
}

// Backup stores a directory or a stream.
func (e *repoEngine) Backup(
	ctx context.Context, src repository.Source, opt repository.BackupOptions,
) (repository.Snapshot, error) {
	if src.Name == "" || (src.Dir == "") == (src.Stream == nil) {
		return repository.Snapshot{}, errors.New("backup: source needs a name, and a directory or a stream")
	}
	comp, ok := compressors[opt.Compression]
	if !ok {
		return repository.Snapshot{}, fmt.Errorf("backup: unknown compression %q", opt.Compression)
	}
	if opt.IgnoreInode && opt.FullReadEvery <= 0 {
		return repository.Snapshot{}, errors.New("backup: IgnoreInode needs FullReadEvery: only a full read finds a " +
			"file that was replaced by one of the same size and time")
	}
	exclude, err := repository.NewSelection(nil, opt.Exclude, opt.Mounts...)
	if err != nil {
		return repository.Snapshot{}, fmt.Errorf("backup: %w", err)
	}
	kctx, stop := e.ctx(context.WithoutCancel(ctx))
	defer stop()
	b := &backup{e: e, src: src, opt: opt, comp: comp, exclude: exclude, progress: newProgress(opt)}
	defer b.progress.stop()
	kctx, w, err := b.writer(kctx)
	if err != nil {
		return repository.Snapshot{}, classify("backup", cause(kctx, err))
	}
	defer func() { _ = w.Close(kctx) }()
	defer b.lost.read.stop()
	var man *snapshot.Manifest
	var d details
	if src.Stream != nil {
		man, d, err = b.stream(ctx, kctx, w)
	} else {
		man, d, err = b.tree(ctx, kctx, w)
	}
	err = firstError(err, b.doubtNext(kctx, w, err))
	if err == nil {
		err = b.accept(kctx, w, man, d)
	}
	if err != nil {
		err = cause(kctx, err)
		// Write the index of the uploaded contents, so that the next run can reuse them. Best effort.
		kctx, cancel := context.WithTimeout(kctx, cancelGrace)
		defer cancel()
		if ferr := w.Flush(kctx); ferr != nil && errors.Is(err, errUnfinished) {
			err = ferr // a checkpoint failed, most likely for the same reason
		}
		if ctx.Err() != nil {
			err = &repository.Error{Op: "backup", Kind: repository.ErrCanceled, Err: err}
		}
		return b.result(man, d), classify("backup", err)
	}
	if err := b.commit(kctx, w, man, d); err != nil {
		return repository.Snapshot{}, classify("backup", cause(kctx, err))
	}
	return b.result(man, d), nil
}

type backup struct {
	e        *repoEngine
	src      repository.Source
	opt      repository.BackupOptions
	comp     compression.Name
	exclude  repository.Selection
	progress *progress
	// fullRead is the time since when each file of the snapshot was read. It is zero for a stream.
	fullRead time.Time
	// unchecked is the start of the oldest backup of which this one has data that was not checked. It is zero for a
	// stream.
	unchecked time.Time
	passes    []fs.UTCTimestamp // when each reading of a tree began
	// continued are the snapshots from which a tree takes the files that did not change, and first is the walk of its
	// first pass.
	continued []*snapshot.Manifest
	first     *walk
	lost      *lost
	contents  *content.WriteManager
}

// writer opens a writer, which sends again what the storage has lost.
func (b *backup) writer(ctx context.Context) (context.Context, repo.RepositoryWriter, error) {
	ctx, w, err := b.e.rep.NewDirectWriter(ctx,
		repo.WriteSessionOptions{Purpose: "backup", OnUpload: func(n int64) { b.progress.sent.Add(n) }})
	if err != nil {
		return ctx, nil, err
	}
	b.contents = w.ContentManager()
	var out repo.RepositoryWriter
	if b.lost, err = b.e.findLost(ctx, w); err == nil {
		out, err = b.lost.writer(ctx, w)
	}
	if err != nil {
		_ = w.Close(ctx)
	}
	return ctx, out, err
}

// accept asks the caller whether the upload becomes a snapshot.
func (b *backup) accept(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest, d details) error {
	if b.opt.Accept == nil {
		return nil
	}
	refusal := b.opt.Accept(b.result(man, d))
	if refusal == nil {
		return nil
	}
	err := error(&repository.Error{Op: "backup", Kind: repository.ErrRefused, Err: refusal})
	if b.src.Stream != nil {
		return err
	}
	return b.keepForNext(ctx, w, man, reasonRefused, err)
}

// keepForNext saves the manifest as incomplete: it is no restore point, but the next run skips the files that it
// lists. It replaces the incomplete manifests of earlier runs, because it covers the whole tree. It returns err.
func (b *backup) keepForNext(
	ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest, reason string, err error,
) error {
	man.IncompleteReason = reason
	_, err2 := snapshot.SaveSnapshot(ctx, w, man)
	if err2 == nil {
		err2 = b.dropUnfinished(ctx, w, man)
	}
	man.ID = ""
	if err2 != nil {
		return errors.Join(err, err2)
	}
	return err
}

// commit saves the manifest and flushes. The snapshot exists only after the flush has returned. The same flush
// deletes what interrupted runs of this source left.
func (b *backup) commit(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest, d details) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	man.Description = string(text)
	man.Tags = b.labels()
	maps.Copy(man.Tags, prefixed(b.opt.Tags))
	man.Pins = []string{"cairn"} // protects the snapshot from kopia's own expiry, whoever runs it
	if _, err := snapshot.SaveSnapshot(ctx, w, man); err != nil {
		return err
	}
	if err := b.dropUnfinished(ctx, w, man); err != nil {
		return err
	}
	return w.Flush(ctx)
}

// prefixed returns tags with the prefix under which they are stored.
func prefixed(tags map[string]string) map[string]string {
	t := make(map[string]string, len(tags))
	for k, v := range tags {
		t[tagPrefix+k] = v
	}
	return t
}

func (b *backup) result(man *snapshot.Manifest, d details) repository.Snapshot {
	if man == nil {
		man = &snapshot.Manifest{Source: source(b.src.Name)}
	}
	s := toSnapshot(man, d)
	s.BytesSent = b.progress.sent.Load()
	s.Problems = b.progress.problemList()
	return s
}

// firstError returns a, or b where a is nil.
func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
