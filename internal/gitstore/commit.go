package gitstore

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Meta is the author, message and time of a commit. The texts can come from users of the cluster. They are cleaned
// instead of refused, because a record must not be lost to an odd name.
type Meta struct {
	Author, AuthorEmail string
	Message             string
	When                time.Time // of the author; zero means the store's clock
}

// Signer signs the encoded commit and returns an armoured signature.
type Signer interface {
	Sign(commit io.Reader) (string, error)
}

const (
	maxIdentity      = 256      // bytes of a name or an address
	maxCommitMessage = 64 << 10 // bytes
)

// Commit puts edits on top of Head as one commit and returns its hash. If the edits change nothing, it returns Head's
// hash. Nothing leaves the machine before Push. On an error nothing has changed.
func (s *Store) Commit(ctx context.Context, edits []Edit, meta Meta) (plumbing.Hash, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commit(ctx, edits, meta)
}

func (s *Store) commit(ctx context.Context, edits []Edit, meta Meta) (_ plumbing.Hash, err error) {
	done := s.observed("commit")
	defer func() { done(err) }()
	if !s.fetched {
		return plumbing.ZeroHash, errNotFetched
	}
	p, err := newPlan(edits)
	if err != nil {
		return s.head, err
	}
	mark := len(s.pending)
	defer func() {
		if err != nil {
			s.pending = s.pending[:mark]
		}
	}()
	root, err := s.root()
	if err != nil {
		return s.head, err
	}
	if err := s.prefetch(ctx, root, p); err != nil {
		return s.head, err
	}
	tree, err := s.splice(ctx, root, p, "")
	if err != nil {
		return s.head, err
	}
	if tree == root {
		s.pending = s.pending[:mark]
		return s.head, nil
	}
	if tree.IsZero() { // the last file of the branch was deleted
		if tree, err = s.keep(s.objects.encode(&object.Tree{})); err != nil {
			return s.head, err
		}
	}
	h, err := s.keep(s.writeCommit(tree, meta))
	if err != nil {
		return s.head, err
	}
	s.head = h
	return h, nil
}

// root returns the tree of Head, or zero on a branch that does not exist yet.
func (s *Store) root() (plumbing.Hash, error) {
	if s.head.IsZero() {
		return plumbing.ZeroHash, nil
	}
	c, err := s.objects.commit(s.head)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if c == nil {
		return plumbing.ZeroHash, fmt.Errorf("%w: commit %s is missing", errCorrupt, s.head)
	}
	return c.TreeHash, nil
}

func (s *Store) writeCommit(tree plumbing.Hash, meta Meta) (plumbing.Hash, error) {
	when := meta.When
	if when.IsZero() {
		when = s.clock.Now()
	}
	who := object.Signature{
		Name:  cleanIdentity(meta.Author, "cairn"),
		Email: cleanIdentity(strings.ReplaceAll(meta.AuthorEmail, " ", ""), "cairn@localhost"),
		When:  when.UTC().Truncate(time.Second),
	}
	c := &object.Commit{Author: who, Committer: who, Message: cleanMessage(meta.Message), TreeHash: tree}
	if !s.head.IsZero() {
		c.ParentHashes = []plumbing.Hash{s.head}
		parent, err := s.objects.commit(s.head)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		// Git stops a search by date where the dates run backwards, and the clocks of two managers differ. The
		// author's date stays as it is.
		if parent != nil && parent.Committer.When.After(who.When) {
			c.Committer.When = parent.Committer.When.UTC()
		}
	}
	if s.signer != nil {
		unsigned := &plumbing.MemoryObject{}
		if err := c.EncodeWithoutSignature(unsigned); err != nil {
			return plumbing.ZeroHash, err
		}
		r, err := unsigned.Reader()
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if c.PGPSignature, err = s.signer.Sign(r); err != nil {
			return plumbing.ZeroHash, fmt.Errorf("sign commit: %w", err)
		}
	}
	return s.objects.encode(c)
}

// cleanIdentity makes a text safe for an author line. A newline there would start a header that the sender chooses;
// angle brackets would end the name.
func cleanIdentity(text, otherwise string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if r == '<' || r == '>' {
			return -1
		}
		return printable(r)
	}, strings.ToValidUTF8(text, "?"))
	// C git strips the same characters at both ends.
	text = strings.Trim(cut(strings.Join(strings.Fields(text), " "), maxIdentity), " .,:;\"'\\")
	if text == "" {
		return otherwise
	}
	return text
}

// cleanMessage keeps line feeds and drops other control characters: an escape sequence would act on the terminal of
// whoever reads the log. It ends the message with one line feed.
func cleanMessage(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\r\n", "\n")
	text = strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return printable(r)
	}, text)
	text = strings.TrimSpace(cut(text, maxCommitMessage))
	if text == "" {
		text = "record"
	}
	return text + "\n"
}
