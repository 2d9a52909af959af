package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
)

const (
	connectWithin = 15 * time.Second
	// aliveEvery is the interval at which the server is asked whether it is alive, and the time it has to answer.
	aliveEvery = 15 * time.Second
)

// Extensions of OpenSSH's protocol, which most servers have.
const (
	extensionRename = "posix-rename@openssh.com"
	extensionLink   = "hardlink@openssh.com"
	extensionSync   = "fsync@openssh.com"
)

// sftpTree is a directory behind SFTP. All calls share one connection, which is replaced after it broke.
type sftpTree struct {
	root, addr string
	egress     *egress.Policy
	config     *ssh.ClientConfig
	mu         sync.Mutex
	conn       *sftpConn
}

// sftpConn is one connection.
type sftpConn struct {
	*sftp.Client
	ssh *ssh.Client
}

func newSFTP(o repository.SFTP) (*sftpTree, error) {
	addr := net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	check, algorithms, err := hostKeys(o.KnownHosts, addr)
	if err != nil {
		return nil, err
	}
	var auth []ssh.AuthMethod
	if len(o.Identity) > 0 {
		key, err := ssh.ParsePrivateKey(o.Identity)
		if err != nil {
			return nil, &repository.Error{
				Op: "open storage", Kind: repository.ErrBadCredentials,
				Err: errors.New("the SSH private key in identity can't be read: it must have no passphrase"),
			}
		}
		auth = append(auth, ssh.PublicKeys(key))
	}
	if o.Password != "" {
		auth = append(auth, ssh.Password(o.Password))
	}
	root := o.Path
	if root == "" {
		root = "." // the directory of the login
	}
	return &sftpTree{root: root, addr: addr, egress: o.Egress, config: &ssh.ClientConfig{
		User: o.Username, Auth: auth, HostKeyCallback: check, HostKeyAlgorithms: algorithms,
	}}, nil
}

// connection returns the existing connection, or a new one.
func (t *sftpTree) connection(ctx context.Context) (*sftpConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		return t.conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	tcp, err := t.egress.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, connectError(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() }) // the handshake takes no context
	conn, err := t.handshake(tcp)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = tcp.Close()
		return nil, connectError(err)
	}
	if _, err := conn.Stat(t.root); err != nil {
		_ = conn.ssh.Close()
		if errors.Is(err, fs.ErrNotExist) {
			err = noDirectory(fmt.Errorf("%s: %w", t.root, err))
		}
		return nil, err
	}
	go conn.watch()
	t.conn = conn
	return conn, nil
}

// connectError classifies the error of a server that did not answer in time.
func connectError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) {
		return &repository.Error{
			Op: "reach storage", Kind: repository.ErrUnreachable,
			Err: fmt.Errorf("no answer within %v", connectWithin),
		}
	}
	return err
}

func (t *sftpTree) handshake(tcp net.Conn) (*sftpConn, error) {
	c, channels, requests, err := ssh.NewClientConn(tcp, t.addr, t.config)
	if err != nil {
		return nil, err
	}
	client := ssh.NewClient(c, channels, requests)
	files, err := sftp.NewClient(client, sftp.UseConcurrentReads(true), sftp.UseConcurrentWrites(true))
	if err != nil {
		return nil, err
	}
	if _, ok := files.HasExtension(extensionRename); !ok {
		return nil, errors.New("the SFTP server can't replace a file in one step: it lacks " + extensionRename)
	}
	return &sftpConn{files, client}, nil
}

// watch closes the connection when its server no longer answers.
func (c *sftpConn) watch() {
	gone := make(chan struct{})
	go func() {
		_ = c.Wait() // the calls return why it ended
		close(gone)
	}()
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		timer := time.AfterFunc(aliveEvery, func() { _ = c.ssh.Close() })
		_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
		timer.Stop()
		if err != nil {
			_ = c.ssh.Close()
			return
		}
	}
}

// drop closes a connection and forgets it.
func (t *sftpTree) drop(c *sftpConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == c {
		t.conn = nil
	}
	_ = c.ssh.Close()
}

// Close implements Tree.
func (t *sftpTree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return nil
	}
	err := t.conn.ssh.Close()
	t.conn = nil
	return err
}

// overSFTP calls f with the connection. A connection that broke, or whose server did not answer, is not used again.
func overSFTP[T any](ctx context.Context, t *sftpTree, f func(*sftpConn) (T, error)) (T, error) {
	c, err := t.connection(ctx)
	if err != nil {
		var none T
		return none, err
	}
	value, err := withContext(ctx, func() (T, error) { return f(c) })
	if ctx.Err() != nil || broken(err) {
		t.drop(c)
	}
	err = wordless(err)
	if errors.Is(err, io.EOF) { // a connection that ends returns EOF: the server counts as gone
		err = fmt.Errorf("connection lost: %w", err)
	}
	return value, err
}

// wordless returns an error without what the server said in words.
func wordless(err error) error {
	var said *sftp.StatusError
	if !errors.As(err, &said) {
		return err
	}
	out := &repository.Error{
		Op: "ask the SFTP server", Kind: repository.KindOf(err),
		Err: repository.Worded("the server said "+said.FxCode().Error(), err),
	}
	var known *repository.Error
	switch {
	case errors.As(err, &known):
		out.Op, out.Kind = known.Op, known.Kind
	case out.Kind == nil:
		return out.Err
	}
	return out
}

func broken(err error) bool {
	return errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, sftp.ErrSSHFxNoConnection) ||
		errors.Is(err, io.EOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, new(*net.OpError))
}

func (t *sftpTree) path(name string) string { return path.Join(t.root, name) }

// Read implements Tree.
func (t *sftpTree) Read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	return overSFTP(ctx, t, func(c *sftpConn) ([]byte, error) {
		f, err := c.Open(t.path(name))
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		fi, err := f.Stat()
		if err != nil {
			return nil, err
		}
		rest := max(0, fi.Size()-offset)
		if length < 0 || length > rest {
			length = rest
		}
		data := make([]byte, length)
		n, err := f.ReadAt(data, offset)
		if errors.Is(err, io.EOF) && int64(n) == length {
			err = nil
		}
		return data[:n], err
	})
}

// Stat implements Tree.
func (t *sftpTree) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	return overSFTP(ctx, t, func(c *sftpConn) (fs.FileInfo, error) { return c.Stat(t.path(name)) })
}

// List implements Tree.
func (t *sftpTree) List(ctx context.Context, name string) ([]fs.FileInfo, error) {
	return overSFTP(ctx, t, func(c *sftpConn) ([]fs.FileInfo, error) { return c.ReadDir(t.path(name)) })
}

// Remove implements Tree.
func (t *sftpTree) Remove(ctx context.Context, name string) error {
	_, err := overSFTP(ctx, t, func(c *sftpConn) (struct{}, error) { return struct{}{}, c.Remove(t.path(name)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Write implements Tree.
func (t *sftpTree) Write(ctx context.Context, name string, data []byte, absent bool) error {
	temp := temporary(name)
	_, err := overSFTP(ctx, t, func(c *sftpConn) (struct{}, error) {
		return struct{}{}, t.write(c, t.path(temp), name, data, absent)
	})
	if broken(err) { // that connection could not remove the file, and who tries again takes another name
		_ = t.Remove(ctx, temp)
	}
	return err
}

func (t *sftpTree) write(c *sftpConn, temp, name string, data []byte, absent bool) error {
	err := c.create(temp, data)
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.makeDirectory(c, path.Dir(name)); err == nil {
			err = c.create(temp, data)
		}
	}
	if err != nil {
		return c.whyNot(t.root, len(data), err)
	}
	if absent {
		err = c.place(temp, t.path(name), data)
	} else if err = c.PosixRename(temp, t.path(name)); err == nil {
		return nil
	}
	if rerr := c.Remove(temp); err == nil {
		err = rerr
	}
	return err
}

// place moves the file to its name unless the name exists. A hard link fails if the name exists, and shows only a
// whole file. Without hard links place writes the file itself.
func (c *sftpConn) place(temp, name string, data []byte) error {
	if _, ok := c.HasExtension(extensionLink); ok {
		if err := c.existing(name, c.Link(temp, name)); err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return c.existing(name, c.create(name, data))
}

// existing turns a failure into fs.ErrExist if the file exists: the protocol has no code for that.
func (c *sftpConn) existing(name string, err error) error {
	if err == nil {
		return nil
	}
	if _, serr := c.Lstat(name); serr == nil {
		return fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	return err
}

// create writes a new file and, if the server supports it, syncs it to disk. It removes a file that it could not
// complete.
func (c *sftpConn) create(name string, data []byte) error {
	f, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(bytes.NewReader(data))
	if _, ok := c.HasExtension(extensionSync); ok && err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		err = errors.Join(err, c.Remove(name))
	}
	return err
}

// makeDirectory creates a directory and its parents, but never the root.
func (t *sftpTree) makeDirectory(c *sftpConn, dir string) error {
	at := ""
	for e := range strings.SplitSeq(dir, "/") {
		at = path.Join(at, e)
		if err := c.Mkdir(t.path(at)); err != nil {
			if fi, serr := c.Stat(t.path(at)); serr != nil || !fi.IsDir() {
				return err
			}
		}
	}
	return nil
}

// whyNot returns ErrStorageFull if the server's disk has no room for size bytes. The protocol of most servers has no
// code for that.
func (c *sftpConn) whyNot(dir string, size int, err error) error {
	var status *sftp.StatusError
	if !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		return err
	}
	if free, serr := c.StatVFS(dir); serr == nil &&
		(free.Bavail*free.Frsize <= uint64(size) || free.Files > 0 && free.Favail == 0) {
		return &repository.Error{Op: "write", Kind: repository.ErrStorageFull, Err: err}
	}
	return err
}
