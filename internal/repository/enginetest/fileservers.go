package enginetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/webdav"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest/sftpserver"
)

// Credentials of the user of the file servers.
const (
	filesUser     = "cairn"
	FilesPassword = "files-secret"
)

// sftpServer is where Debian's openssh-sftp-server installs OpenSSH's server program.
const sftpServer = "/usr/lib/openssh/sftp-server"

// StartSFTP starts an SSH server with OpenSSH's sftp-server behind it. The server stops with the test. StartSFTP
// returns a directory on it. filesUser logs in with a key or with FilesPassword.
func StartSFTP(t testing.TB) repository.SFTP {
	t.Helper()
	g := NewWithT(t)
	if _, err := os.Stat(sftpServer); err != nil {
		t.Skipf("no %s: install openssh-sftp-server", sftpServer)
	}
	hostKey, hostPublic := keyPair(t)
	identity, public := keyPair(t)
	host, err := ssh.ParsePrivateKey(hostKey)
	g.Expect(err).NotTo(HaveOccurred())
	refused := errors.New("who are you?")
	config := &ssh.ServerConfig{
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if c.User() != filesUser || string(password) != FilesPassword {
				return nil, refused
			}
			return nil, nil
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() != filesUser || !bytes.Equal(key.Marshal(), public.Marshal()) {
				return nil, refused
			}
			return nil, nil
		},
	}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = l.Close() })
	ctx := t.Context()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go sftpserver.Serve(ctx, conn, config, func(ch ssh.Channel) {
				cmd := exec.CommandContext(ctx, sftpServer)
				cmd.Stdin, cmd.Stdout = ch, ch
				_ = cmd.Run() // the exit status does not matter
			})
		}
	}()
	addr := l.Addr().(*net.TCPAddr)
	return repository.SFTP{
		Host: "127.0.0.1", Port: addr.Port, Username: filesUser, Path: t.TempDir(), Identity: identity,
		KnownHosts: []byte(xknownhosts.Line([]string{addr.String()}, hostPublic)), Egress: egress.Anywhere(),
	}
}

func keyPair(t testing.TB) (private []byte, public ssh.PublicKey) {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	block, err := ssh.MarshalPrivateKey(key, "")
	g.Expect(err).NotTo(HaveOccurred())
	public, err = ssh.NewPublicKey(key.Public())
	g.Expect(err).NotTo(HaveOccurred())
	return pem.EncodeToMemory(block), public
}

// StartWebDAV starts a WebDAV server that stops with the test. It returns a collection on it, which trusts the
// server's certificate by fingerprint, and the authority of that certificate.
func StartWebDAV(t testing.TB) (dav repository.WebDAV, ca []byte) {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(dir, "backups"), 0o755)).To(Succeed())
	handler := &webdav.Handler{FileSystem: webdav.Dir(dir), LockSystem: webdav.NewMemLS()}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != filesUser || password != FilesPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="files"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/forbidden") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	sum := sha256.Sum256(server.Certificate().Raw)
	return repository.WebDAV{
		URL: server.URL + "/backups", Username: filesUser, Password: FilesPassword,
		Fingerprint: hex.EncodeToString(sum[:]), Egress: egress.Anywhere(),
	}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
