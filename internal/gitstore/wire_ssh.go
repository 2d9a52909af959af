package gitstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/ssh/knownhosts"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

type sshDialer struct {
	ep      endpoint
	addr    string // host and port
	config  *ssh.ClientConfig
	network Network
}

func newSSHDialer(ep endpoint, auth Auth) (dialer, error) {
	addr := ep.host
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), defaultPort["ssh"])
	}
	check, algorithms, err := hostKeys(auth.KnownHosts, addr)
	if err != nil {
		return nil, err
	}
	var key ssh.Signer
	if auth.Password != "" {
		key, err = ssh.ParsePrivateKeyWithPassphrase([]byte(auth.Identity), []byte(auth.Password))
	}
	// A password can also stand beside a key without a passphrase.
	if key == nil || err != nil {
		key, err = ssh.ParsePrivateKey([]byte(auth.Identity))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the SSH private key in identity can't be read, or password is not its passphrase",
			ErrAuth)
	}
	return &sshDialer{ep, addr, &ssh.ClientConfig{
		User: ep.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: check, HostKeyAlgorithms: algorithms,
	}, auth.Network}, nil
}

// hostKeys reads known_hosts. It returns only the algorithms of this host's keys: with another algorithm, the server
// would present a key that is not listed.
func hostKeys(known []byte, addr string) (ssh.HostKeyCallback, []string, error) {
	if len(bytes.TrimSpace(known)) == 0 {
		return nil, nil, fmt.Errorf("%w: known_hosts is required for SSH; put the server's host key there", ErrHostKey)
	}
	check, _, err := knownhosts.New(known)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: known_hosts can't be read", ErrHostKey)
	}
	var miss *xknownhosts.KeyError
	if err := check(addr, &net.TCPAddr{}, noKey{}); !errors.As(err, &miss) || len(miss.Want) == 0 {
		if bytes.Contains(known, []byte("@cert-authority")) {
			return check, nil, nil // certificates are not listed one by one
		}
		return nil, nil,
			fmt.Errorf("%w: known_hosts has no key of %s; add the key that the server presents", ErrHostKey,
				addr)
	}
	var algorithms []string
	for _, k := range miss.Want {
		if k.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, k.Key.Type())
		}
	}
	slices.Sort(algorithms)
	return check, slices.Compact(algorithms), nil
}

// noKey is a key that no host has. The error of a check with it lists the keys that the host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

func (d *sshDialer) close() {}

func (d *sshDialer) dial(ctx context.Context, svc service) (_ conversation, err error) {
	conn, err := dialing(d.network)(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	c := &sshConversation{conn: conn}
	// Closing the connection makes every later step obey ctx.
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if err != nil {
			_ = c.Close()
			err = errors.Join(context.Cause(ctx), err)
		}
	}()
	client, channels, requests, err := ssh.NewClientConn(conn, d.addr, d.config)
	if err != nil {
		return nil, err
	}
	session, err := ssh.NewClient(client, channels, requests).NewSession()
	if err != nil {
		return nil, err
	}
	session.Stderr = &c.stderr
	if c.in, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = session.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := session.Start(fmt.Sprintf("%s '%s'", svc, strings.ReplaceAll(d.ep.path, "'", `'\''`))); err != nil {
		return nil, err
	}
	if c.adv, err = readAdvertisement(c.out); errors.Is(err, packp.ErrEmptyInput) {
		_ = session.Wait() // all of stderr has arrived after this
		return nil, fmt.Errorf("%w: %s", err, c.stderr.String())
	}
	return c, err
}

type sshConversation struct {
	conn   net.Conn
	stop   func() bool
	in     io.WriteCloser
	out    io.Reader
	stderr tail
	adv    *packp.AdvRefs
	used   bool
}

func (c *sshConversation) refs() *packp.AdvRefs { return c.adv }
func (c *sshConversation) repeatable() bool     { return false }

func (c *sshConversation) exchange(ctx context.Context, body []byte) (io.ReadCloser, error) {
	c.used = true
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	_, err := c.in.Write(body)
	if err = errors.Join(err, c.in.Close()); errors.Is(err, io.EOF) {
		err = nil // the server has hung up already, but its output can still be read
	}
	if err = errors.Join(context.Cause(ctx), err); err != nil {
		stop()
		return nil, err
	}
	return sshReply{c.out, stop}, nil
}

// Close sends a flush, so that the server does not log a fault.
func (c *sshConversation) Close() error {
	if c.in != nil && !c.used {
		_, _ = io.WriteString(c.in, "0000")
	}
	c.stop()
	return c.conn.Close()
}

type sshReply struct {
	io.Reader
	stop func() bool
}

func (r sshReply) Close() error { r.stop(); return nil }

// tail keeps the first bytes written to it, up to a small limit.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p[:min(len(p), max(0, 4*maxMessage-t.buf.Len()))])
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
