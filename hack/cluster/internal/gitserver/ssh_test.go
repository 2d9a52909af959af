package gitserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// startSSH serves root and returns the address and the files of two private
// keys: of one that may log in, and one that may not.
func startSSH(t testing.TB, root string) (addr, known, unknown string) {
	t.Helper()
	hostKey, _ := key(t)
	known, public := key(t)
	unknown, _ = key(t)
	s := &SSH{
		Repositories: &Repositories{Dir: root, AutoCreate: true}, HostKeyFile: hostKey,
		AuthorizedKeysFile: file(t, "authorized_keys", "# a comment\n\n"+public), Log: testLog(t),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), known, unknown
}

// with makes git use a key and ask nothing.
func with(key string) []string {
	return []string{"GIT_SSH_COMMAND=ssh -i " + key +
		" -F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null " +
		"-o LogLevel=ERROR"}
}

func key(t testing.TB) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "key", string(pem.EncodeToMemory(block))), string(ssh.MarshalAuthorizedKey(p))
}

func TestPushAndCloneOverSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("this machine has no ssh client (Debian package openssh-client)")
	}
	g := NewWithT(t)
	addr, known, unknown := startSSH(t, t.TempDir())
	url := "ssh://git@" + addr
	work := commit(t, 3<<20)
	mustGit(t, work, with(known), "push", url+"/team/repo.git", "main")
	clone := t.TempDir()
	mustGit(t, clone, append(with(known), "GIT_PROTOCOL=version=2"), "clone", "--quiet", url+"/team/repo.git", ".")
	g.Expect(mustGit(t, clone, nil, "rev-parse", "HEAD")).To(Equal(mustGit(t, work, nil, "rev-parse", "HEAD")))

	out, err := git(t, work, with(unknown), "ls-remote", url+"/team/repo.git")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("Permission denied"))
	out, err = git(t, work, with(known), "ls-remote", url+"/none.git")
	g.Expect(err).To(HaveOccurred())
	g.Expect(out).To(ContainSubstring("no such repository"))
}

func TestSSHRunsNothingElse(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	addr, userKey, _ := startSSH(t, root)
	b, err := os.ReadFile(userKey)
	g.Expect(err).NotTo(HaveOccurred())
	signer, err := ssh.ParsePrivateKey(b)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer client.Close()
	for _, line := range []string{
		"sh -c id", "git-upload-archive '/r.git'", "git-upload-pack '/../../etc'", "git-receive-pack '/r.git'; id",
		"git-receive-pack '/r.git' '--help'", "git config --list", "upload-pack '/r.git'", "",
	} {
		session, err := client.NewSession()
		g.Expect(err).NotTo(HaveOccurred())
		var stderr bytes.Buffer
		session.Stdin, session.Stderr = strings.NewReader(""), &stderr
		err = session.Run(line)
		g.Expect(err).To(BeAssignableToTypeOf(&ssh.ExitError{}), "command %q", line)
		g.Expect(err.(*ssh.ExitError).ExitStatus()).To(Equal(128))
		g.Expect(stderr.String()).To(Or(ContainSubstring("no such repository"),
			ContainSubstring("only git-upload-pack")))
	}
	session, err := client.NewSession()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(session.Shell()).NotTo(Succeed(), "no shell")
	g.Expect(os.ReadDir(root)).To(BeEmpty())
	_, err = client.Dial("tcp", addr)
	g.Expect(err).To(HaveOccurred(), "no forwarding")
}

func TestParseCommand(t *testing.T) {
	for line, want := range map[string][2]string{
		"git-upload-pack '/a/b.git'":  {"upload-pack", "/a/b.git"},
		"git-receive-pack 'b.git'":    {"receive-pack", "b.git"},
		"git upload-pack '/b.git'":    {"upload-pack", "/b.git"},
		"git-upload-pack /b.git":      {"upload-pack", "/b.git"},
		"git-upload-archive '/b.git'": {},
		"receive-pack '/b.git'":       {},
	} {
		t.Run(line, func(t *testing.T) {
			g := NewWithT(t)
			service, repository, err := parseCommand(line)
			g.Expect([2]string{service, repository}).To(Equal(want))
			g.Expect(err == nil).To(Equal(want[0] != ""))
		})
	}
}
