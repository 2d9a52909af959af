package gitstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// Outcome is how a push that succeeded came to be known.
type Outcome string

const (
	// Accepted: the server said so.
	Accepted Outcome = "Accepted"
	// AlreadyThere: the branch was read and is our commit.
	AlreadyThere Outcome = "AlreadyThere"
	// Unchanged: there was nothing to push.
	Unchanged Outcome = "Unchanged"
)

// Push makes Head the tip of the remote branch if the branch still is where
// Head's history starts. On any error the branch is read back before an answer
// is given, so that a lost reply is not taken for a failure, nor silence for
// success.
func (s *Store) Push(ctx context.Context) (Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.push(ctx)
}

func (s *Store) push(ctx context.Context) (_ Outcome, err error) {
	if s.fetched && s.head != s.base {
		done := s.observed("push")
		defer func() { done(err) }()
	}
	switch {
	case !s.fetched:
		return "", ErrNotFetched
	case s.head == s.base:
		return Unchanged, nil
	}
	s.fresh = false
	sent, err := s.send(ctx)
	switch {
	case err == nil:
		s.landed()
		return Accepted, nil
	case errors.Is(err, errAlreadyThere):
		s.landed()
		return AlreadyThere, nil
	case !sent:
		return "", s.remote.classify("push", err)
	}
	said := s.remote.classify("push", err)
	tip, err := s.readBack(ctx)
	switch {
	case err != nil:
		return "", &RemoteError{Op: "push", Kind: ErrOutcomeUnknown, Message: s.remote.secrets.scrub(said.Error() + "; " + err.Error())}
	case tip == s.head:
		s.landed()
		return AlreadyThere, nil
	case tip != s.base:
		return "", s.moved(tip)
	}
	// Not there, or not yet: a server with a slow hook may still take it. That
	// is no danger. A later push names the same old value and then fails, and
	// the Update after it finds its content in place.
	return "", said
}

// landed records that the remote has head. A state file that cannot be written
// does not make the push less true, and an older LastPushed is still an
// ancestor; the next Fetch writes the file again and reports the fault.
func (s *Store) landed() {
	s.base, s.last, s.pending, s.fresh = s.head, s.head, nil, true
	_ = s.save()
}

func (s *Store) moved(tip plumbing.Hash) error {
	return &RemoteError{Op: "push", Kind: ErrMoved, Message: fmt.Sprintf("%s is at %s", s.ref.Short(), tip)}
}

var errAlreadyThere = errors.New("branch is already at the commit")

// send runs the request. sent is false while the server cannot have acted.
func (s *Store) send(ctx context.Context) (sent bool, err error) {
	c, ctx, done, err := s.conversation(ctx, receivePack)
	if err != nil {
		return false, err
	}
	defer done()
	switch tip := c.refs().References[s.ref.String()]; tip {
	case s.base:
	case s.head:
		return false, errAlreadyThere
	default:
		return false, s.moved(tip)
	}
	body, err := s.updateRequest(c.refs().Capabilities)
	if err != nil {
		return false, err
	}
	s.objects.stats.Requests++
	reply, err := c.exchange(ctx, body)
	if err != nil {
		return true, err
	}
	defer reply.Close()
	return true, s.readReply(reply, c.refs().Capabilities)
}

// updateRequest is the compare-and-swap of the ref and a pack with just the new
// objects. It is built in memory: a batch of records is small.
func (s *Store) updateRequest(caps *capability.List) ([]byte, error) {
	req := packp.NewReferenceUpdateRequest()
	// Without a side band hook output would be mixed into the report.
	for _, cap := range []capability.Capability{capability.ReportStatus, capability.Sideband64k} {
		if caps.Supports(cap) {
			_ = req.Capabilities.Set(cap)
		}
	}
	_ = req.Capabilities.Set(capability.Agent, agent)
	req.Commands = []*packp.Command{{Name: s.ref, Old: s.base, New: s.head}}
	var body bytes.Buffer
	if err := req.Encode(&body); err != nil {
		return nil, err
	}
	if _, err := packfile.NewEncoder(&body, s.objects, false).Encode(s.pending, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return body.Bytes(), nil
}

func (s *Store) readReply(reply io.Reader, caps *capability.List) error {
	if !caps.Supports(capability.ReportStatus) {
		return errors.New("server gives no report") // reading back will tell
	}
	var output tail
	if caps.Supports(capability.Sideband64k) {
		demux := sideband.NewDemuxer(sideband.Sideband64k, bounded(reply, 1<<20))
		demux.Progress = &output
		return s.readReport(demux, &output)
	}
	return s.readReport(bounded(reply, 1<<20), &output)
}

// readReport returns nil only if the server reports the update of our ref.
func (s *Store) readReport(r io.Reader, output *tail) error {
	report := packp.NewReportStatus()
	if err := report.Decode(r); err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	if report.UnpackStatus != "ok" {
		return &refusal{"unpack: " + report.UnpackStatus, output.String()}
	}
	for _, st := range report.CommandStatuses {
		if st.ReferenceName == s.ref && st.Status == "ok" {
			return nil
		}
		if st.ReferenceName == s.ref {
			return &refusal{st.Status, output.String()}
		}
	}
	return errors.New("report does not mention the branch")
}

// readBack asks for the branch's tip on the receiving service, because replicas
// that serve fetches may lag. It outlives ctx by at most one time limit: a
// shutdown in the middle of a push should still learn what happened.
func (s *Store) readBack(ctx context.Context) (plumbing.Hash, error) {
	c, _, done, err := s.conversation(context.WithoutCancel(ctx), receivePack)
	if err != nil {
		return plumbing.ZeroHash, s.remote.classify("read back", err)
	}
	defer done()
	return c.refs().References[s.ref.String()], nil
}
