package kopia

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/maintenance"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/repository"
)

const (
	// The cache of a mover starts empty and ends with the pod. The metadata cache holds the directories of the previous
	// snapshot. For data see packReader.
	defaultDataCache     = 64 << 20 // not 0: with a cache directory kopia 0.21 would crash
	defaultMetadataCache = 512 << 20
)

// repoEngine is the repository.Engine of one open repository.
type repoEngine struct {
	rep    repo.DirectRepository
	log    func(level, component, msg string)
	handle string
	config string
	owner  string
	fatal  chan error
	refuse chan error // the storage refuses to list blobs
	cancel context.CancelCauseFunc
	opened atomic.Bool
	packs  *packReader
	spare  *spareKey
	safety maintenance.SafetyParameters
	now    func() time.Time
	lstat  lstatFunc
	fstat  fstatFunc
	// fstatNow is fstat past what a network file system remembers.
	fstatNow fstatFunc
	// fileTime is the clock of this machine, from which the kernel takes file times, whatever now returns.
	fileTime func() time.Time
	dirtyFor time.Duration
	skew     time.Duration // of the driver
	step     func()        // of the driver
	syncfs   func(fd int) error
	// passes is maxPasses, or the value of a test.
	passes int
	// readAgain is maxReadAgain, or the value of a test.
	readAgain int64
	// partSize is the constant of that name, or the value of a test.
	partSize int64
	// full is why the storage took no blob last.
	full     atomic.Pointer[error]
	proven   proven
	seen     seen
	cacheDir string
}

func (d Driver) open(ctx context.Context, r repository.Repository) (_ *repoEngine, err error) {
	ctx = withLog(ctx, r.Log)
	if r.WorkDir == "" {
		return nil, errors.New("open repository: WorkDir is required")
	}
	e := d.engine(r)
	ctx, e.cancel = context.WithCancelCause(ctx)
	handle, f := d.storage(r, &e.packs, func(st blob.Storage) blob.Storage {
		st = &fullWatch{st, &e.full}
		st = &listWatch{Storage: st, patience: cmp.Or(d.patience, listPatience), now: e.now, giveUp: e.giveUp}
		e.spare = &spareKey{Storage: st}
		return e.spare
	})
	handles.Store(handle, f)
	defer func() {
		e.opened.Store(true)
		if err != nil {
			e.cancel(nil)
			handles.Delete(handle)
		}
	}()
	config := filepath.Join(r.WorkDir, "connection-"+handle+".json")
	if err := writeConfig(config, handle, r); err != nil {
		return nil, err
	}
	e.handle, e.config, e.owner = handle, config, r.Owner
	opt := &repo.Options{
		DisableInternalLog:  true, // else every session writes encrypted logs into the repository
		DoNotWaitForUpgrade: true, // else Open blocks for ever while the format is upgraded
		OnFatalError: func(err error) { // the default is os.Exit
			select {
			case e.fatal <- err:
			default:
			}
		},
	}
	if d.Now != nil {
		opt.TimeNowFunc = d.Now
	}
	rep, err := repo.Open(ctx, config, r.Password, opt)
	if err != nil {
		_ = os.Remove(config)
		err = cause(ctx, err)
		if errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, repo.ErrRepositoryNotInitialized) {
			err = d.whyNotFound(ctx, f, err)
		}
		return nil, classify("open", err)
	}
	dr, ok := rep.(repo.DirectRepository)
	if !ok {
		_ = rep.Close(ctx)
		return nil, errors.New("open: not a direct repository")
	}
	e.rep = e.surviving(ctx, dr)
	return e, nil
}

// engine returns an engine that is not connected yet.
func (d Driver) engine(r repository.Repository) *repoEngine {
	e := &repoEngine{
		log: r.Log, cacheDir: r.CacheDir, safety: maintenance.SafetyFull, now: time.Now, fatal: make(chan error, 1),
		refuse: make(chan error, 1), lstat: fstatat, fstat: fstat, fstatNow: fstatNow,
		fileTime: time.Now, readAgain: cmp.Or(d.readAgain, maxReadAgain), step: d.step, syncfs: unix.Syncfs,
		skew: d.skew, dirtyFor: cmp.Or(d.dirtyFor, dirtyFor), passes: cmp.Or(d.passes, maxPasses),
		partSize: cmp.Or(d.partSize, partSize),
	}
	if d.syncfs != nil {
		e.syncfs = d.syncfs
	}
	if d.lstat != nil {
		e.lstat = d.lstat
	}
	if d.fstat != nil {
		e.fstat, e.fstatNow = d.fstat, d.fstat
	}
	if lstat := e.lstat; d.Lookup != nil {
		e.lstat = func(fd int, name string, st *unix.Stat_t) error {
			d.Lookup(name)
			return lstat(fd, name, st)
		}
	}
	if d.fileTime != nil {
		e.fileTime = d.fileTime
	}
	if d.safety != nil {
		e.safety = *d.safety
	}
	if d.Now != nil {
		e.now = d.Now
	}
	return e
}

// giveUp ends the operations that wait for a storage which refuses to list blobs.
func (e *repoEngine) giveUp(err error) {
	if !e.opened.Load() {
		e.cancel(err)
	}
	select {
	case e.refuse <- err:
	default:
	}
}

// whyNotFound distinguishes a missing bucket from a missing repository. kopia's S3 client returns "blob not found"
// for both, but a listing fails only without the bucket.
func (d Driver) whyNotFound(ctx context.Context, f storageFunc, err error) error {
	st, err2 := f(ctx, false)
	if err2 != nil {
		return err2
	}
	defer func() { _ = st.Close(ctx) }()
	if err2 := st.ListBlobs(ctx, "kopia.repository", func(blob.Metadata) error { return nil }); err2 != nil {
		return err2
	}
	return &repository.Error{Op: "open", Kind: repository.ErrNotInitialized, Err: err}
}

// clientIdentity splits an owner into user and host. kopia joins them with "@" and compares the result with the
// maintenance owner.
func clientIdentity(owner string) (user, host string) {
	if user, host, _ = strings.Cut(owner, "@"); user == "" || host == "" {
		return identity, "-" // owns nothing: this connection cannot run maintenance
	}
	return user, host
}

// writeConfig writes the same file as repo.Connect, but does not open the repository a second time.
func writeConfig(path, handle string, r repository.Repository) error {
	user, host := clientIdentity(r.Owner)
	lc := repo.LocalConfig{
		Storage: &blob.ConnectionInfo{Type: storageType, Config: &handleOptions{Handle: handle}},
		Caching: &content.CachingOptions{},
		ClientOptions: repo.ClientOptions{
			Hostname: host, Username: user, ReadOnly: r.ReadOnly,
			FormatBlobCacheDuration: -1, // never cached: a missing format blob must be noticed
		},
	}
	if r.CacheDir != "" {
		abs, err := filepath.Abs(r.CacheDir)
		if err != nil {
			return err
		}
		data, meta := cmp.Or(r.Cache.Data, defaultDataCache), cmp.Or(r.Cache.Metadata, defaultMetadataCache)
		// kopia enforces the soft limit only for entries older than the sweep age, and the hard limit always.
		lc.Caching = &content.CachingOptions{
			CacheDirectory:        abs,
			ContentCacheSizeBytes: data, ContentCacheSizeLimitBytes: data + data/2,
			MetadataCacheSizeBytes: meta, MetadataCacheSizeLimitBytes: meta + meta/2,
		}
	}
	b, err := json.Marshal(lc)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// Close ends the connection and removes what it left in the work directory.
func (e *repoEngine) Close(ctx context.Context) error {
	err := e.rep.Close(ctx)
	e.dropStale()
	e.cancel(nil)
	handles.Delete(e.handle)
	_ = os.Remove(e.config)
	_ = os.Remove(e.config + ".mlock")
	return classify("close", err)
}

// ctx returns a context with logging. It is canceled on a fatal error of kopia, and when the storage refuses to list
// blobs; cause returns the reason.
func (e *repoEngine) ctx(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(withLog(ctx, e.log))
	select {
	case <-e.refuse: //nolint:errcheck // the refusal of an earlier operation
	default:
	}
	go func() {
		select {
		case err := <-e.fatal:
			cancel(err)
		case err := <-e.refuse:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
