package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// loginTimeout is how long a client may take to log in.
const loginTimeout = 30 * time.Second

// SSH serves git-upload-pack and git-receive-pack, and nothing else, to users
// with a known key.
type SSH struct {
	Repositories       *Repositories
	HostKeyFile        string // private key in PEM or OpenSSH format
	AuthorizedKeysFile string // read on every login, so that it can be changed; options in it are ignored
	Log                *log.Logger
}

// Serve accepts connections until ctx is done, and then ends what runs. It
// takes over the listener.
func (s *SSH) Serve(ctx context.Context, l net.Listener) error {
	config, err := s.config()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return fmt.Errorf("accept an SSH connection: %w", err)
		}
		wg.Go(func() { s.connection(ctx, conn, config) })
	}
}

func (s *SSH) config() (*ssh.ServerConfig, error) {
	pem, err := os.ReadFile(s.HostKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the SSH host key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("parse the SSH host key: %w", err)
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, s.authorize(key)
		},
	}
	config.AddHostKey(key)
	return config, nil
}

func (s *SSH) authorize(key ssh.PublicKey) error {
	rest, err := os.ReadFile(s.AuthorizedKeysFile)
	if err != nil {
		return fmt.Errorf("read authorized keys: %w", err)
	}
	for len(rest) > 0 {
		var known ssh.PublicKey
		if known, _, _, rest, err = ssh.ParseAuthorizedKey(rest); err != nil {
			break // no key is left
		}
		if string(known.Marshal()) == string(key.Marshal()) {
			return nil
		}
	}
	return errors.New("the key is not authorized")
}

func (s *SSH) connection(ctx context.Context, conn net.Conn, config *ssh.ServerConfig) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(loginTimeout)) // a broken connection shows below
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		if !errors.Is(err, io.EOF) { // a probe that only connects
			s.Log.Printf("SSH login from %s: %v", conn.RemoteAddr(), err)
		}
		return
	}
	_ = conn.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "only sessions are served")
			continue
		}
		ch, requests, err := c.Accept()
		if err != nil {
			return
		}
		go s.session(ctx, ch, requests)
	}
}

// session answers the requests of one channel up to the first command.
func (s *SSH) session(ctx context.Context, ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close()
	protocol := ""
	for r := range requests {
		switch r.Type {
		case "env":
			var v struct{ Name, Value string }
			ok := ssh.Unmarshal(r.Payload, &v) == nil && v.Name == "GIT_PROTOCOL"
			if ok {
				protocol = v.Value
			}
			_ = r.Reply(ok, nil)
		case "exec":
			var v struct{ Command string }
			err := ssh.Unmarshal(r.Payload, &v)
			_ = r.Reply(err == nil, nil)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			status := s.command(ctx, ch, v.Command, protocol)
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			return
		default: // shells, terminals, forwarding
			_ = r.Reply(false, nil)
		}
	}
}

// command runs what a client asked for and returns its exit status.
func (s *SSH) command(ctx context.Context, ch ssh.Channel, line, protocol string) uint32 {
	service, asked, err := parseCommand(line)
	if err != nil {
		fmt.Fprintln(ch.Stderr(), err)
		return 128
	}
	name, err := s.Repositories.name(asked)
	dir := ""
	if err == nil {
		dir, err = s.Repositories.find(ctx, name, service == "receive-pack")
	}
	if err != nil {
		if !errors.Is(err, errNoRepository) {
			s.Log.Printf("serve over SSH: %v", err)
			err = errors.New("the repository cannot be opened")
		}
		fmt.Fprintln(ch.Stderr(), err)
		return 128
	}
	cmd := exec.CommandContext(ctx, "git", service, dir)
	cmd.Env = environment()
	if protocol != "" {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+protocol)
	}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.Log.Printf("run git %s: %v", service, err)
		return 128
	}
	// Not cmd.Stdin: Wait would then wait for the client to close its side.
	go func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	}()
	if err := cmd.Wait(); err != nil {
		s.Log.Printf("git %s %s: %v", service, name, err)
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			return uint32(exit.ExitCode())
		}
		return 128
	}
	return 0
}

// parseCommand splits the two commands that are allowed, in the way git quotes
// them: git-upload-pack '/team/repository.git'
func parseCommand(line string) (service, repository string, err error) {
	program, argument, _ := strings.Cut(line, " ")
	service, ok := strings.CutPrefix(program, "git-")
	if program == "git" { // the spelling without a dash
		service, argument, ok = strings.Cut(argument, " ")
	}
	if !ok || service != "upload-pack" && service != "receive-pack" {
		return "", "", errors.New("only git-upload-pack and git-receive-pack are served")
	}
	if n := len(argument); n >= 2 && argument[0] == '\'' && argument[n-1] == '\'' {
		argument = argument[1 : n-1]
	}
	return service, argument, nil // Repositories.name refuses quotes that are left
}
