// Command fileserver serves one directory to one user, over SFTP and, with TLS, over WebDAV. The end-to-end tests keep
// backups on it as on the S3 server.
package main

import (
	"context"
	"crypto/subtle"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/webdav"

	"github.com/cairn-backup/cairn/internal/repository/enginetest/sftpserver"
)

func main() {
	root := flag.String("root", "/data", "directory that is served")
	auth := flag.String("auth", "/auth", "directory with username, password, host_key, tls.crt and tls.key")
	sftpAddr := flag.String("sftp", ":2222", "address of the SSH server")
	davAddr := flag.String("webdav", ":8443", "address of the WebDAV server")
	flag.Parse()
	if err := run(*root, *auth, *sftpAddr, *davAddr); err != nil {
		log.Fatalln("fileserver:", err)
	}
}

func run(root, auth, sftpAddr, davAddr string) error {
	user, err := os.ReadFile(filepath.Join(auth, "username"))
	if err != nil {
		return fmt.Errorf("read the user's name: %w", err)
	}
	password, err := os.ReadFile(filepath.Join(auth, "password"))
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	knows := func(u, p string) bool {
		return subtle.ConstantTimeCompare([]byte(u+"\x00"+p), []byte(string(user)+"\x00"+string(password))) == 1
	}
	hostKey, err := os.ReadFile(filepath.Join(auth, "host_key"))
	if err != nil {
		return fmt.Errorf("read the host key: %w", err)
	}
	ended := make(chan error, 2)
	go func() { ended <- serveSFTP(root, sftpAddr, hostKey, knows) }()
	go func() { ended <- serveWebDAV(root, davAddr, auth, knows) }()
	return <-ended
}

func serveWebDAV(root, addr, auth string, knows func(user, password string) bool) error {
	handler := &webdav.Handler{FileSystem: webdav.Dir(root), LockSystem: webdav.NewMemLS()}
	server := &http.Server{
		Addr: addr, ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); !knows(user, password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="files"`)
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			handler.ServeHTTP(w, r)
		}),
	}
	return server.ListenAndServeTLS(filepath.Join(auth, "tls.crt"), filepath.Join(auth, "tls.key"))
}

func serveSFTP(root, addr string, hostKey []byte, knows func(user, password string) bool) error {
	key, err := ssh.ParsePrivateKey(hostKey)
	if err != nil {
		return fmt.Errorf("parse the host key: %w", err)
	}
	config := &ssh.ServerConfig{PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if !knows(c.User(), string(password)) {
			return nil, fmt.Errorf("who are you?")
		}
		return nil, nil
	}}
	config.AddHostKey(key)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for SSH: %w", err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		go sftpserver.Serve(context.Background(), conn, config, func(ch ssh.Channel) { answer(root, ch) })
	}
}

// answer serves SFTP on a channel until it ends.
func answer(root string, ch ssh.Channel) {
	server, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory(root))
	if err != nil {
		log.Println("start SFTP:", err)
		return
	}
	if err := server.Serve(); err != nil {
		log.Println("serve SFTP:", err)
	}
}
