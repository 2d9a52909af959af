// Command gitserver serves bare Git repositories below one directory over HTTP
// and SSH, with the real git behind both. It needs no shell and no rights:
// it runs in a pod as any user that may write the directory.
//
//	gitserver --root /repositories --auto-create \
//	  --http :8080 --username-file /auth/username --password-file /auth/password --public-read \
//	  --ssh :2222 --ssh-host-key /ssh/host_key --ssh-authorized-keys /ssh/authorized_keys
//
// Repositories are at http://HOST:8080/NAME.git and ssh://git@HOST:2222/NAME.git
// (with any user name); NAME may have slashes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairn-backup/cairn/hack/cluster/internal/gitserver"
)

// stopTimeout is how long open requests may run after a signal to stop.
const stopTimeout = 10 * time.Second

func main() {
	logger := log.New(os.Stderr, "gitserver: ", log.LstdFlags|log.LUTC)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, logger); err != nil {
		logger.Fatal(err)
	}
}

func run(ctx context.Context, logger *log.Logger) error {
	repositories := &gitserver.Repositories{}
	web := &gitserver.HTTP{Repositories: repositories, Log: logger}
	shell := &gitserver.SSH{Repositories: repositories, Log: logger}
	flag.StringVar(&repositories.Dir, "root", "", "directory of the repositories (required)")
	flag.BoolVar(&repositories.AutoCreate, "auto-create", false,
		"create a repository, with HEAD main, when somebody pushes to it first")
	httpAddr := flag.String("http", ":8080", "address for HTTP, with /healthz; empty to not serve it")
	flag.StringVar(&web.UsernameFile, "username-file", "", "file with the user name for HTTP; read on every request")
	flag.StringVar(&web.PasswordFile, "password-file", "", "file with the password for HTTP; read on every request")
	flag.BoolVar(&web.PublicRead, "public-read", false, "let everybody read repositories below public/ over HTTP")
	sshAddr := flag.String("ssh", "", "address for SSH; empty to not serve it")
	flag.StringVar(&shell.HostKeyFile, "ssh-host-key", "", "file with the private host key for SSH")
	flag.StringVar(&shell.AuthorizedKeysFile, "ssh-authorized-keys", "",
		"file with the public keys that may log in over SSH; read on every login")
	flag.Parse()
	if repositories.Dir == "" || flag.NArg() > 0 {
		return errors.New("read the arguments: --root is required, and there are only flags (see --help)")
	}
	return serve(ctx, logger, web, *httpAddr, shell, *sshAddr)
}

// serve runs both servers until ctx is done or one of them fails.
func serve(
	ctx context.Context, logger *log.Logger, web *gitserver.HTTP, httpAddr string, shell *gitserver.SSH, sshAddr string,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var servers []func() error
	if httpAddr != "" {
		l, err := net.Listen("tcp", httpAddr)
		if err != nil {
			return fmt.Errorf("listen for HTTP: %w", err)
		}
		logger.Printf("HTTP on %s", l.Addr())
		servers = append(servers, func() error { return serveHTTP(ctx, l, web) })
	}
	if sshAddr != "" {
		l, err := net.Listen("tcp", sshAddr)
		if err != nil {
			return fmt.Errorf("listen for SSH: %w", err)
		}
		logger.Printf("SSH on %s", l.Addr())
		servers = append(servers, func() error { return shell.Serve(ctx, l) })
	}
	results := make(chan error)
	for _, s := range servers {
		go func() { results <- s() }()
	}
	var errs []error
	for range servers {
		err := <-results
		cancel(err) // one alone is of no use
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		limited, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		stopped <- srv.Shutdown(limited)
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("wait for HTTP requests to end: %w", err)
	}
	return nil
}
