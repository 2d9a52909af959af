// Package kopia implements repository.Driver with github.com/kopia/kopia used as a library. What that library
// drops (hard links, extended attributes, special files, names that are not UTF-8) it keeps beside the data.
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

// identity is the user and host of every snapshot source: a pod's host name would make each backup the first
// one of a new source.
const identity = "cairn"

// Format chosen at Init; it cannot be changed later. BLAKE3 hashes about twice as fast as kopia's default
// BLAKE2B on machines with AVX2 and every kopia since 0.10 reads it.
const (
	formatHash     = "BLAKE3-256-128"
	formatCipher   = "AES256-GCM-HMAC-SHA256"
	formatSplitter = "DYNAMIC-4M-BUZHASH"
)

// Driver is ready to use as its zero value.
type Driver struct {
	// Wrap, if set, is put around the storage (fault injection, accounting).
	Wrap func(blob.Storage) blob.Storage
	// Now is the clock; nil means the system's.
	Now func() time.Time
	// safety replaces the waiting periods of garbage collection; tests only.
	safety *maintenance.SafetyParameters
	// patience replaces listPatience; tests only.
	patience time.Duration
	// within replaces answerWithin; tests only.
	within time.Duration
	// readAgain replaces maxReadAgain; tests only.
	readAgain int64
	// lstat replaces the look-up of names in a source; tests only.
	lstat lstatFunc
	// fileTime replaces the clock that the times of files are compared with; tests only.
	fileTime func() time.Time
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
	defer e.Close(ctx)
	settled, err := maintenance.HasParams(ctx, e.rep)
	if err != nil {
		return classify("init", err)
	}
	if settled && !created {
		return &repository.Error{Op: "init", Kind: repository.ErrAlreadyInitialized, Err: errors.New("a complete repository was found")}
	}
	return classify("init", repo.WriteSession(ctx, e.rep, repo.WriteSessionOptions{Purpose: "init"}, func(ctx context.Context, w repo.RepositoryWriter) error {
		return settle(ctx, w, r.Owner)
	}))
}

// create writes the format blobs and reports whether it did: false means that they were there.
func (d Driver) create(ctx context.Context, r repository.Repository) (bool, error) {
	ctx = withLog(ctx, r.Log)
	_, open := d.storage(r, nil, nil)
	st, err := open(ctx, true)
	if err != nil {
		return false, err
	}
	defer st.Close(ctx)
	there, err := clearWay(ctx, st)
	if there || err != nil {
		return false, err
	}
	err = repo.Initialize(ctx, st, &repo.NewRepositoryOptions{
		BlockFormat:  format.ContentFormat{Hash: formatHash, Encryption: formatCipher, MutableParameters: format.MutableParameters{Version: format.FormatVersion3}},
		ObjectFormat: format.ObjectFormat{Splitter: formatSplitter},
	}, r.Password)
	if errors.Is(err, format.ErrAlreadyInitialized) {
		return false, nil
	}
	return err == nil, err
}

// clearWay reports whether a format blob exists. Without one nothing may be there: new keys over the data of
// a damaged repository would end every hope for it. The one exception is what an interrupted Init writes
// first and kopia then stumbles over: it holds nothing.
func clearWay(ctx context.Context, st blob.Storage) (there bool, _ error) {
	const first = blob.ID(format.KopiaBlobCfgBlobID)
	leftover := false
	var other blob.ID
	err := st.ListBlobs(ctx, "", func(m blob.Metadata) error {
		switch {
		case m.BlobID == format.KopiaRepositoryBlobID:
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
		return false, &repository.Error{Op: "init", Kind: repository.ErrCorrupt,
			Err: fmt.Errorf("no format blob, but data of a repository (%s): empty the directory or bring the format blob back", other)}
	case leftover:
		return false, st.DeleteBlob(ctx, first)
	}
	return false, nil
}

// settle writes what makes a repository complete, in one flush. The owner comes last: its presence says that
// the policy is there too.
func settle(ctx context.Context, w repo.RepositoryWriter, owner string) error {
	// Nothing of kopia's own may expire snapshots: its retention runs at every checkpoint of an upload. All zero
	// means "keep all" (policy.EffectiveKeepLatest).
	zero := policy.OptionalInt(0)
	keepAll := &policy.Policy{RetentionPolicy: policy.RetentionPolicy{
		KeepLatest: &zero, KeepHourly: &zero, KeepDaily: &zero, KeepWeekly: &zero, KeepMonthly: &zero, KeepAnnual: &zero,
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
