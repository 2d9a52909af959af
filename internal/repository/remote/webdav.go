package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/studio-b12/gowebdav"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/cairn-backup/cairn/internal/repository"
)

// silenceTimeout is how long a connection can be silent.
const silenceTimeout = time.Minute

// davTree is a collection behind WebDAV.
type davTree struct {
	client    *gowebdav.Client
	transport *http.Transport
	rooted    atomic.Bool // the root is known to exist
}

func newWebDAV(o repository.WebDAV) (*davTree, error) {
	conf, err := davTLS(o)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               o.Egress.Proxy,
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: connectWithin,
		IdleConnTimeout:     silenceTimeout / 2,
		MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := o.Egress.Within(connectWithin)(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &patientConn{c, time.Now}, nil
		},
	}
	auth := gowebdav.NewEmptyAuth()
	if o.Username != "" || o.Password != "" {
		auth = gowebdav.NewAutoAuth(o.Username, o.Password)
	}
	client := gowebdav.NewAuthClient(o.URL, auth)
	client.SetTransport(wholeAnswers{transport})
	client.SetHeader("Accept-Encoding", "identity")
	return &davTree{client: client, transport: transport}, nil
}

// davTLS returns a configuration that trusts only the named certificate, else the given authorities, else those of
// the system.
func davTLS(o repository.WebDAV) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.CA) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("CA bundle holds no PEM certificate")
		}
	}
	if o.Fingerprint == "" {
		return conf, nil
	}
	want := strings.ToLower(strings.ReplaceAll(o.Fingerprint, ":", ""))
	conf.InsecureSkipVerify = true // VerifyConnection is stricter
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		sum := sha256.Sum256(s.PeerCertificates[0].Raw)
		if got := hex.EncodeToString(sum[:]); got != want {
			return fmt.Errorf("the certificate fingerprint is %s, not the one of the BackupStorage", got)
		}
		return nil
	}
	return conf, nil
}

// patientConn fails after it was silent for silenceTimeout.
type patientConn struct {
	net.Conn
	now func() time.Time
}

func (c *patientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.now().Add(silenceTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *patientConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.now().Add(silenceTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements Tree.
func (t *davTree) Close() error {
	t.transport.CloseIdleConnections()
	return nil
}

// statusError attaches the meaning to a status of the protocol.
func statusError(err error) error {
	var status gowebdav.StatusError
	if err == nil || !errors.As(err, &status) {
		return err
	}
	kind := map[int]error{
		http.StatusUnauthorized: repository.ErrBadCredentials, http.StatusForbidden: repository.ErrAccessDenied,
		http.StatusInsufficientStorage: repository.ErrStorageFull,
		http.StatusRequestTimeout:      repository.ErrUnreachable,
		http.StatusLocked:              repository.ErrUnreachable,
		http.StatusTooManyRequests:     repository.ErrUnreachable,
	}[status.Status]
	answer := fmt.Errorf("the server said %d %s", status.Status, http.StatusText(status.Status))
	switch {
	case status.Status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", answer, fs.ErrNotExist)
	case status.Status == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", answer, fs.ErrExist)
	case kind == nil && status.Status >= http.StatusInternalServerError:
		kind = repository.ErrUnreachable
	}
	if kind == nil {
		return answer
	}
	return &repository.Error{Op: "ask the WebDAV server", Kind: kind, Err: answer}
}

// overDAV calls f once the root is known to exist. The client would create the root otherwise.
func overDAV[T any](ctx context.Context, t *davTree, f func() (T, error)) (T, error) {
	value, err := withContext(ctx, func() (none T, _ error) {
		if !t.rooted.Load() {
			if _, err := t.stat("/"); errors.Is(statusError(err), fs.ErrNotExist) {
				return none, noDirectory(errors.New("nothing exists at the URL"))
			} else if err != nil {
				return none, err
			}
			t.rooted.Store(true)
		}
		return f()
	})
	return value, statusError(err)
}

// locked is how long a call waits for the lock that a server holds while it moves another file to the same name:
// about ten seconds.
var locked = wait.Backoff{Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 9}

// unlocked calls f again while the server says that a name is locked.
func unlocked(ctx context.Context, f func() error) error {
	for again := locked; ; {
		err := f()
		if again.Steps == 0 || !gowebdav.IsErrCode(err, http.StatusLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(again.Step()):
		}
	}
}

// stat calls the client's Stat, which can return nil without an error for a missing file.
func (t *davTree) stat(name string) (fs.FileInfo, error) {
	fi, err := t.client.Stat(name)
	if err != nil {
		return nil, err
	}
	if f, ok := fi.(*gowebdav.File); ok && f == nil {
		return nil, gowebdav.NewPathError("Stat", name, http.StatusNotFound)
	}
	return fi, nil
}

// Read implements Tree.
func (t *davTree) Read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if length == 0 {
		_, err := t.Stat(ctx, name)
		return nil, err
	}
	return overDAV(ctx, t, func() ([]byte, error) {
		var body io.ReadCloser
		var err error
		if offset == 0 && length < 0 {
			body, err = t.client.ReadStream(name)
		} else {
			body, err = t.client.ReadStreamRange(name, offset, length)
		}
		if err != nil {
			var status gowebdav.StatusError
			if errors.As(err, &status) && status.Status == http.StatusRequestedRangeNotSatisfiable {
				return nil, nil // the file ends before the offset
			}
			return nil, err
		}
		defer func() { _ = body.Close() }()
		return io.ReadAll(body)
	})
}

// Stat implements Tree.
func (t *davTree) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	return overDAV(ctx, t, func() (fs.FileInfo, error) { return t.stat("/" + name) })
}

// List implements Tree.
func (t *davTree) List(ctx context.Context, name string) ([]fs.FileInfo, error) {
	return overDAV(ctx, t, func() ([]fs.FileInfo, error) { return t.client.ReadDir("/" + name) })
}

// Remove implements Tree. If it fails, it asks the server again for the reason: the client reports every broken
// connection as a bad request.
func (t *davTree) Remove(ctx context.Context, name string) error {
	_, err := overDAV(ctx, t, func() (struct{}, error) {
		err := unlocked(ctx, func() error { return t.client.Remove("/" + name) })
		if gowebdav.IsErrCode(err, http.StatusBadRequest) {
			if _, serr := t.stat("/" + name); serr != nil {
				err = serr
			}
		}
		return struct{}{}, err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Write implements Tree. It moves only complete files into place.
func (t *davTree) Write(ctx context.Context, name string, data []byte, absent bool) error {
	temp := temporary(name)
	_, err := overDAV(ctx, t, func() (struct{}, error) {
		err := t.client.Write("/"+temp, data, 0)
		if gowebdav.IsErrCode(err, http.StatusConflict) || gowebdav.IsErrCode(err, http.StatusNotFound) ||
			gowebdav.IsErrCode(err, http.StatusForbidden) || gowebdav.IsErrCode(err, http.StatusLocked) {
			if err = t.makeDirectory(ctx, path.Dir(name)); err == nil {
				err = unlocked(ctx, func() error { return t.client.Write("/"+temp, data, 0) })
			}
		}
		if err == nil {
			err = t.move(ctx, temp, name, data, absent)
		}
		if err != nil {
			_ = t.client.Remove("/" + temp) // the first error counts
		}
		return struct{}{}, err
	})
	return err
}

// move moves a file of a temporary name. A server that says that it is locked can have moved it, or move it a moment
// later. To ask again would remove what was moved, so it looks before.
func (t *davTree) move(ctx context.Context, temp, name string, data []byte, absent bool) error {
	asked := false
	err := unlocked(ctx, func() error {
		if asked {
			if done, err := t.moved(temp, name, data); done || err != nil {
				return err
			}
		}
		asked = true
		return t.client.Rename("/"+temp, "/"+name, !absent)
	})
	if !gowebdav.IsErrCode(err, http.StatusLocked) {
		return err
	}
	if done, lookErr := t.moved(temp, name, data); done || lookErr != nil {
		return lookErr
	}
	return err
}

// moved reports whether a file has left its temporary name for its name. It fails if it is at neither.
func (t *davTree) moved(temp, name string, data []byte) (bool, error) {
	_, err := t.stat("/" + temp)
	if err == nil || !errors.Is(statusError(err), fs.ErrNotExist) {
		return false, err
	}
	var got []byte
	body, err := t.client.ReadStream("/" + name)
	if err == nil {
		got, err = io.ReadAll(io.LimitReader(body, int64(len(data))+1))
		_ = body.Close()
	}
	switch {
	case errors.Is(statusError(err), fs.ErrNotExist), err == nil && !bytes.Equal(got, data):
		return false, fmt.Errorf("the server said that %s is locked, and lost the file that it should move there", name)
	case err != nil:
		return false, err
	default:
		return true, nil
	}
}

// makeDirectory creates a collection and its parents, but never the root.
func (t *davTree) makeDirectory(ctx context.Context, dir string) error {
	at := ""
	for e := range strings.SplitSeq(dir, "/") {
		at = path.Join(at, e)
		if err := unlocked(ctx, func() error { return t.client.Mkdir("/"+at, 0) }); err != nil {
			return err
		}
	}
	return nil
}
