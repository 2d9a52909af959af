package gitstore

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A server that refuses hangs up while we still write. Its answer must be read all the same, or a refusal would look
// like a fault of the network.
func TestSSHServerHangsUpEarly(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	tip := strings.Repeat("12", 20)
	said := pkt(tip+" HEAD\x00side-band-64k\n") + pkt(tip+" refs/heads/main\n") + "0000" +
		pkt("ERR upload-pack: not our ref "+tip)
	addr, known, gone := talker(t, said)
	remote, err := NewRemote("ssh://git@"+addr+"/x", Auth{
		Network: anywhere{}, Identity: newSSHKey(t), KnownHosts: []byte(known),
	})
	g.Expect(err).NotTo(HaveOccurred())
	l, err := remote.List(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	defer l.Close()
	<-gone
	err = l.Download(ctx, Download{
		Want: []plumbing.Hash{plumbing.NewHash(tip)}, Pack: 1e6, Object: 1e6, Unpacked: 1e6, TempDir: t.TempDir(),
	}, memory.NewStorage())
	g.Expect(err).To(MatchError(ErrNotServed))
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// talker is an SSH server that sends its text to every command, reads nothing and closes the channel. gone is closed
// once the client knows.
func talker(t *testing.T, text string) (addr, known string, gone <-chan struct{}) {
	t.Helper()
	host, err := ssh.ParsePrivateKey([]byte(newSSHKey(t)))
	must(t, err)
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		channel, commands, err := (<-channels).Accept()
		if err != nil {
			return
		}
		for c := range commands {
			_ = c.Reply(true, nil)
			_, _ = io.WriteString(channel, text)
			_ = channel.Close()
		}
	}()
	addr = l.Addr().String()
	return addr, knownhosts.Line([]string{addr}, host.PublicKey()) + "\n", done
}
