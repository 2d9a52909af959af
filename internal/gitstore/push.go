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

// Outcome says how a successful push came to be known.
type Outcome string

const (
	// accepted means that the server reported it.
	accepted Outcome = "Accepted"
	// alreadyThere means that the branch was read and is at our commit.
	alreadyThere Outcome = "AlreadyThere"
	// Unchanged means that there was nothing to push.
	Unchanged Outcome = "Unchanged"
)

// Push makes Head the tip of the remote branch if the branch still is where Head's history starts. After any error
// Push reads the branch back before it returns, so that a lost reply does not count as a failure, nor silence as
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
		return "", errNotFetched
	case s.head == s.base:
		return Unchanged, s.settle()
	}
	s.fresh = false
	sent, err := s.send(ctx)
	switch {
	case err == nil:
		s.landed()
		return accepted, nil
	case errors.Is(err, errAlreadyThere):
		s.landed()
		return alreadyThere, nil
	case !sent:
		return "", s.remote.classify("push", err)
	}
	// The server's report that it refuses our ref, perhaps because the branch has moved, is an answer.
	if no := (*refusal)(nil); !errors.As(err, &no) {
		s.unanswered = true
	}
	failure := s.remote.classify("push", err)
	tip, err := s.readBack(ctx)
	switch {
	case err != nil:
		return "", &RemoteError{
			Op: "push", Kind: ErrOutcomeUnknown,
			Message: s.remote.secrets.scrub(failure.Error() + "; " + err.Error()),
		}
	case tip == s.head:
		s.landed()
		return alreadyThere, nil
	case tip != s.base:
		return "", s.moved(tip)
	}
	// The commit is not there, or not yet: a server with a slow hook can still accept it. That is no danger. A later
	// push names the same old value and then fails, and the Update after it finds its content in place.
	return "", failure
}

// landed records that the remote has head. If the state file can't be written, the push still happened, and an older
// LastPushed is still an ancestor. The next Fetch writes the file again and reports the fault.
func (s *Store) landed() {
	s.base, s.last, s.pending, s.fresh, s.unanswered = s.head, s.head, nil, true, false
	_ = s.save()
}

// settle makes the tip of a branch in which nothing of ours was missing the last commit, if none is known yet, or if
// it can have come with a push whose answer was lost: from then on a branch without it is noticed. The branch can be a
// copy of one to which another store has pushed.
func (s *Store) settle() error {
	if !s.last.IsZero() && !s.unanswered || s.base.IsZero() {
		return nil
	}
	s.last, s.unanswered = s.base, false
	return s.save()
}

func (s *Store) moved(tip plumbing.Hash) error {
	return &RemoteError{Op: "push", Kind: errMoved, Message: fmt.Sprintf("%s is at %s", s.ref.Short(), tip)}
}

var errAlreadyThere = errors.New("branch is already at the commit")

// send makes the request. sent is false as long as the server can't have acted.
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
	defer func() { _ = reply.Close() }()
	return true, s.readReply(reply, c.refs().Capabilities)
}

// updateRequest returns the compare-and-swap of the ref and a pack with just the new objects. It is built in memory:
// a batch of records is small.
func (s *Store) updateRequest(caps *capability.List) ([]byte, error) {
	req := packp.NewReferenceUpdateRequest()
	// Without a side band, the output of hooks would be mixed into the report.
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
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return body.Bytes(), nil
}

func (s *Store) readReply(reply io.Reader, caps *capability.List) error {
	if !caps.Supports(capability.ReportStatus) {
		return errors.New("server gives no report") // reading back finds out
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
		return gitError("read report", err)
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

// readBack reads the branch's tip from the receiving service, because replicas that serve fetches can lag. It
// outlives ctx by at most one time limit: a shutdown in the middle of a push should still learn what happened.
func (s *Store) readBack(ctx context.Context) (plumbing.Hash, error) {
	c, _, done, err := s.conversation(context.WithoutCancel(ctx), receivePack)
	if err != nil {
		return plumbing.ZeroHash, s.remote.classify("read back", err)
	}
	defer done()
	return c.refs().References[s.ref.String()], nil
}
