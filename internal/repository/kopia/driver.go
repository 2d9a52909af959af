// Package kopia implements repository.Driver with github.com/kopia/kopia as a library. That library drops hard links,
// extended attributes, special files and names that are not UTF-8. This package keeps them beside the data.
package kopia

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/policy"

	"github.com/cairn-backup/cairn/internal/repository"
)

// identity is the user and host of every snapshot source. With the host name of a pod each backup would be the first
// backup of a new source.
const identity = "cairn"

// The format is chosen at Init and cannot be changed later. On machines with AVX2, BLAKE3 is about twice as fast as
// BLAKE2B, kopia's default. Every kopia since 0.10 reads it.
const (
	formatHash     = "BLAKE3-256-128"
	formatCipher   = "AES256-GCM-HMAC-SHA256"
	formatSplitter = "DYNAMIC-4M-BUZHASH"
)

// Driver is ready to use as its zero value.
type Driver struct {
	// Wrap, if set, wraps the storage, for example to inject faults or to count requests.
	Wrap func(blob.Storage) blob.Storage
	// Lookup, if set, is called before a name of a source is looked up, for example to change the source meanwhile.
	Lookup func(name string)
	// Now is the clock; nil means the system's.
	Now func() time.Time
	// safety replaces the waiting periods of garbage collection. Only tests set it.
	safety *maintenance.SafetyParameters
	// patience replaces listPatience. Only tests set it.
	patience time.Duration
	// within replaces answerWithin. Only tests set it.
	within time.Duration
	// below wraps the storage below the limits. Only tests set it.
	below func(blob.Storage) blob.Storage
	// passes replaces maxPasses. Only tests set it.
	passes int
	// readAgain replaces maxReadAgain. Only tests set it.
	readAgain int64
	// partSize replaces the constant of that name. Only tests set it.
	partSize int64
	// lstat replaces the lookup of names in a source. Only tests set it.
	lstat lstatFunc
	// fstat replaces the lookup of open files in a source. Only tests set it.
	fstat fstatFunc
	// dirtyFor replaces the variable of that name. Only tests set it.
	dirtyFor time.Duration
	// skew is by how much the clock of the source may differ at least. Only tests set it.
	skew time.Duration
	// fileTime replaces the clock that file times are compared with. Only tests set it.
	fileTime func() time.Time
	// step is called before each change of the target of a restore, and before each look at one snapshot of a check
	// that has found damage. Only tests set it.
	step func()
	// syncfs replaces the call that brings a restore to the disk. Only tests set it.
	syncfs func(fd int) error
}

var _ repository.Driver = Driver{}

// Init creates the repository, or completes one whose Init was interrupted.
func (d Driver) Init(ctx context.Context, r repository.Repository) error {
	if user, host := clientIdentity(r.Owner); user+"@"+host != r.Owner {
		return fmt.Errorf("init repository: owner %q must be <name>@<cluster uid>", r.Owner)
	}
	created, err := d.create(ctx, r)
	if err != nil {
		return classify("init", err)
	}
	e, err := d.open(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close(ctx) }()
	completed, err := maintenance.HasParams(ctx, e.rep)
	if err != nil {
		return classify("init", err)
	}
	if (completed || e.Lost()) && !created {
		return &repository.Error{
			Op: "init", Kind: repository.ErrAlreadyInitialized,
			Err: errors.New("the directory already holds a complete repository"),
		}
	}
	return classify("init", repo.WriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "init"},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			return complete(ctx, w, r.Owner)
		}))
}

// create writes the format blobs. It reports false where they existed already.
func (d Driver) create(ctx context.Context, r repository.Repository) (bool, error) {
	ctx = withLog(ctx, r.Log)
	_, open := d.storage(r, nil, nil)
	st, err := open(ctx, true)
	if err != nil {
		return false, err
	}
	defer func() { _ = st.Close(ctx) }()
	there, err := clearWay(ctx, st)
	if there || err != nil {
		return false, err
	}
	err = repo.Initialize(ctx, st, &repo.NewRepositoryOptions{
		BlockFormat: format.ContentFormat{
			Hash: formatHash, Encryption: formatCipher,
			MutableParameters: format.MutableParameters{Version: format.FormatVersion3},
		},
		ObjectFormat: format.ObjectFormat{Splitter: formatSplitter},
	}, r.Password)
	if errors.Is(err, format.ErrAlreadyInitialized) {
		return false, nil
	}
	return err == nil, err
}

// clearWay reports whether a format blob exists, or its copy. Without them the storage must be empty: with new keys the
// data of a damaged repository would be lost for ever. The only exception is the first blob that Init writes. An
// interrupted Init leaves it, it holds no data, and kopia fails on it, so clearWay deletes it.
func clearWay(ctx context.Context, st blob.Storage) (there bool, _ error) {
	const first = blob.ID(format.KopiaBlobCfgBlobID)
	leftover := false
	var other blob.ID
	err := st.ListBlobs(ctx, "", func(m blob.Metadata) error {
		switch {
		case m.BlobID == keyBlob || m.BlobID == spareBlob:
			there = true
		case m.BlobID == first:
			leftover = true
		case !strings.HasPrefix(string(m.BlobID), "."):
			other = m.BlobID
		}
		return nil
	})
	switch {
	case err != nil || there:
		return there, err
	case other != "":
		return false, &repository.Error{
			Op: "init", Kind: repository.ErrCorrupt,
			Err: fmt.Errorf("no format blob, but data of a repository (%s): empty the directory or bring the format "+
				"blob back", other),
		}
	case leftover:
		return false, st.DeleteBlob(ctx, first)
	}
	return false, nil
}

// complete finishes a new repository in one flush. It writes the owner last: where an owner is found, the policy
// exists too.
func complete(ctx context.Context, w repo.RepositoryWriter, owner string) error {
	// kopia must not expire snapshots: its retention runs at every checkpoint of an upload. Zero in all fields means
	// "keep all" (policy.EffectiveKeepLatest).
	zero := policy.OptionalInt(0)
	keepAll := &policy.Policy{RetentionPolicy: policy.RetentionPolicy{
		KeepLatest: &zero, KeepHourly: &zero, KeepDaily: &zero, KeepWeekly: &zero, KeepMonthly: &zero,
		KeepAnnual: &zero,
	}}
	if err := policy.SetPolicy(ctx, w, policy.GlobalPolicySourceInfo, keepAll); err != nil {
		return err
	}
	p := maintenance.DefaultParams()
	p.Owner = owner
	return maintenance.SetParams(ctx, w, &p)
}

// Open connects to an existing repository.
func (d Driver) Open(ctx context.Context, r repository.Repository) (repository.Engine, error) {
	return d.open(ctx, r)
}
