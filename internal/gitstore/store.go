package gitstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// agent is the name that servers see in their logs.
const agent = "cairn"

// Options describe a store. Dir, URL and Branch are required.
type Options struct {
	Dir    string // private directory; created if it is missing
	URL    string // for ParseURL: https, http, ssh or user@host:path, no credentials
	Branch string // without refs/heads/; created as an orphan if it is missing
	Auth   Auth

	// LastPushed is what the caller remembers of an earlier Push, so that a rewritten branch is noticed even if Dir
	// was lost. Zero means what Dir remembers.
	LastPushed plumbing.Hash
	AppendOnly []string // directories whose files are never changed or deleted
	FullBlobs  bool     // keep file contents locally, for ReadFile on any server
	Signer     Signer   // nil means unsigned commits

	Clock   Clock         // nil means the system's
	Jitter  *rand.ChaCha8 // nil means seeded by the system
	Observe Observe       // nil means no observer
	Limits  Limits
	// Reserve is asked before the objects of a pack are stored. Nil means not to ask.
	Reserve Reserve
}

// Limits bound the resources of a store. Zero fields get the default in brackets.
type Limits struct {
	Timeout   time.Duration // of one exchange with the server, including its hooks (1m)
	PackBytes int64         // of one download (1 GiB)
	// ObjectBytes and Objects bound what a download has: the bytes of one object (10 MiB), and their number (500,000).
	ObjectBytes int64
	Objects     int
	History     int   // commits that are searched for LastPushed (100,000)
	Attempts    int   // of one Update when the branch keeps moving (10)
	LooseFiles  int   // before the directory is recycled (20,000, about 2,500 commits)
	Packs       int   // the same (64)
	StoreBytes  int64 // the same (2 GiB)
}

// Store is one branch of one remote repository. See the package comment.
type Store struct {
	mu         sync.Mutex
	dir        string
	remote     *Remote
	ref        plumbing.ReferenceName
	lock       *os.File
	objects    *objects
	appendOnly appendOnly
	fullBlobs  bool
	signer     Signer
	clock      Clock
	jitter     *rand.Rand
	observe    Observe
	limits     Limits
	reserve    Reserve

	fetched bool            // base is the remote's tip as of the last Fetch
	base    plumbing.Hash   // remote tip that local objects belong to; zero means none
	head    plumbing.Hash   // base plus local commits
	last    plumbing.Hash   // newest commit that is known to be accepted and to have all of ours
	pending []plumbing.Hash // objects between base and head
	// unanswered reports that a push since last was sent, and that nobody knows whether it arrived.
	unanswered bool
	filters    bool         // the server has not yet refused a filter
	lazy       conversation // hands out single objects; nil if the server does not
	alone      bool         // the last fetch found the branch where we had left it
	fresh      bool         // the last exchange with the server was a push of ours that landed
}

// Open locks the directory and reads its state. It does not connect to the server.
func Open(o Options) (_ *Store, err error) {
	remote, err := NewRemote(o.URL, o.Auth)
	if err != nil {
		return nil, err
	}
	ref := plumbing.NewBranchReferenceName(o.Branch)
	if err := ref.Validate(); err != nil || strings.HasPrefix(o.Branch, "-") || strings.HasPrefix(o.Branch, "refs/") {
		return nil, fmt.Errorf("branch name %q is not valid", o.Branch)
	}
	guard, err := newAppendOnly(o.AppendOnly)
	if err != nil {
		return nil, err
	}
	// An empty path would be the working directory, and recycling deletes.
	if o.Dir == "" {
		return nil, errors.New("store directory is not set")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, remote: remote, ref: ref, appendOnly: guard, fullBlobs: o.FullBlobs,
		signer: o.Signer, clock: o.Clock, observe: o.Observe, limits: o.Limits.withDefaults(), last: o.LastPushed,
		reserve: o.Reserve,
		filters: true,
	}
	if s.clock == nil {
		s.clock = systemClock{}
	}
	s.jitter = newJitter(o.Jitter)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create store directory: %w", err)
	}
	if err := checkOwned(dir); err != nil {
		return nil, err
	}
	if s.lock, err = lockFile(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close releases the directory. Commits that were not pushed are dropped.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	s.fetched = false
	s.remote.Close()
	err := unlockFile(s.lock)
	s.lock = nil
	return err
}

// LastPushed returns the newest commit of ours that is known to be accepted, or the tip at which the first Push found
// nothing to do. Keep it outside the directory too and pass it to Open.
func (s *Store) LastPushed() plumbing.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Stats returns what the store did since it was opened, for metrics and benchmarks.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects.stats
}

// AcceptRewrite forgets LastPushed after a person decided that the rewritten branch is right. The branch can lack
// records; the next Update appends to it.
func (s *Store) AcceptRewrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = plumbing.ZeroHash
	return s.recycle()
}

// conversation opens a service within the time limit of one exchange. The returned context belongs to the whole
// exchange and ends with cancel.
func (s *Store) conversation(ctx context.Context, svc service) (conversation, context.Context, context.CancelFunc,
	error,
) {
	if s.lock == nil {
		return nil, ctx, nil, os.ErrClosed
	}
	s.objects.stats.Requests++
	ctx, cancel := context.WithTimeout(ctx, s.limits.Timeout)
	c, err := s.remote.dialer.dial(ctx, svc)
	if err != nil {
		cancel()
		return nil, ctx, nil, err
	}
	return c, ctx, func() { _ = c.Close(); cancel() }, nil
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Timeout, time.Minute)
	setDefault(&l.PackBytes, 1<<30)
	setDefault(&l.ObjectBytes, 10<<20)
	setDefault(&l.Objects, 500_000)
	setDefault(&l.History, 100_000)
	setDefault(&l.Attempts, 10)
	setDefault(&l.LooseFiles, 20_000)
	setDefault(&l.Packs, 64)
	setDefault(&l.StoreBytes, 2<<30)
	return l
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
