package gitstore

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// service is a service of a Git server. This file and its two implementations replace go-git's transport package.
// That package ignores the context while it makes an SSH connection, reads error bodies of any size, returns a nil
// report for an empty HTTP reply, and keeps status codes as text. The messages themselves are go-git's (package
// packp).

type service string

const (
	uploadPack  service = "git-upload-pack"
	receivePack service = "git-receive-pack"
)

// dialer starts conversations with one repository.
type dialer interface {
	dial(ctx context.Context, svc service) (conversation, error)
	close()
}

func newDialer(ep endpoint, auth Auth) (dialer, error) {
	if ep.scheme == "ssh" {
		return newSSHDialer(ep, auth)
	}
	return newHTTPDialer(ep, auth)
}

// conversation is one service of one repository, with its refs already read.
type conversation interface {
	refs() *packp.AdvRefs
	// exchange sends one request and returns the reply, which ends with ctx.
	exchange(ctx context.Context, body []byte) (io.ReadCloser, error)
	// repeatable reports whether exchange can be called more than once.
	repeatable() bool
	Close() error
}

// maxAdvertisement bounds the list of refs, in bytes (about 200,000 refs).
const maxAdvertisement = 16 << 20

func readAdvertisement(r io.Reader) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(bounded(r, maxAdvertisement))
	if err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) { // an empty repository is no error
		return nil, gitError("read refs", err)
	}
	if f := adv.Capabilities.Get(capability.ObjectFormat); len(f) > 0 && f[0] != "sha1" {
		return nil, &refusal{reason: "its object format is not sha1, and no other is supported"}
	}
	return adv, nil
}

// request says what to download.
type request struct {
	want   []plumbing.Hash
	have   plumbing.Hash // send only what is not reachable from it; zero means send all
	depth  int           // commits, counted from want; 0 means all
	filter packp.Filter
}

// receive makes one request and passes the pack to sink. If have is set and the server does not know it, receive
// returns false and does not call sink.
func receive(ctx context.Context, c conversation, r request, limit int64, sink func(*boundedReader) error) (
	bool, error,
) {
	req := uploadRequest(c, r)
	body, err := encodeRequest(req)
	if err != nil {
		return false, err
	}
	reply, err := c.exchange(ctx, body)
	if err != nil {
		return false, err
	}
	defer func() { _ = reply.Close() }()
	resp := packp.NewUploadPackResponse(req)
	if err := resp.Decode(reply); err != nil {
		return false, gitError("read answer", err)
	}
	if !r.have.IsZero() && len(resp.ACKs) == 0 {
		return false, nil
	}
	var pack io.Reader = resp
	if req.Capabilities.Supports(capability.Sideband64k) {
		pack = sideband.NewDemuxer(sideband.Sideband64k, resp)
	}
	return true, sink(bounded(pack, limit))
}

func uploadRequest(c conversation, r request) *packp.UploadPackRequest {
	req := packp.NewUploadPackRequest()
	caps := c.refs().Capabilities
	for _, cap := range []capability.Capability{
		capability.OFSDelta, capability.Shallow, capability.Sideband64k,
		capability.NoProgress,
	} {
		if caps.Supports(cap) {
			_ = req.Capabilities.Set(cap)
		}
	}
	req.Wants = r.want
	if r.depth > 0 && caps.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(r.depth)
	}
	if !r.have.IsZero() {
		req.Haves = []plumbing.Hash{r.have}
		if caps.Supports(capability.Shallow) {
			req.Shallows = []plumbing.Hash{r.have} // our copy can end there
		}
	}
	if r.filter != "" {
		_ = req.Capabilities.Set(capability.Filter)
		req.Filter = r.filter
	}
	return req
}

// encodeRequest encodes a fetch request for both transports.
func encodeRequest(req *packp.UploadPackRequest) ([]byte, error) {
	var body bytes.Buffer
	if err := req.UploadRequest.Encode(&body); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(&body, false); err != nil {
		return nil, err
	}
	err := pktline.NewEncoder(&body).EncodeString("done\n")
	return body.Bytes(), err
}

// bounded returns a reader that fails with ErrTooLarge instead of ending silently like io.LimitReader.
func bounded(r io.Reader, limit int64) *boundedReader { return &boundedReader{r: r, left: limit} }

type boundedReader struct {
	r    io.Reader
	left int64
	err  error // of r, other than io.EOF
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, ErrTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
