package signature_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/signature"
)

// What Git signs with ssh-keygen or gpg is accepted, with the public key as these programs print it.
func TestGitSigns(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ssh ed25519", "ssh ecdsa", "ssh rsa", "gpg ed25519", "gpg rsa3072"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g, program, algorithm := NewWithT(t), kind[:3], kind[4:]
			dir, err := os.MkdirTemp("", "sign") // socket paths of gpg are short
			g.Expect(err).NotTo(HaveOccurred())
			t.Cleanup(func() {
				_ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run()
				_ = os.RemoveAll(dir)
			})
			run := func(name string, args ...string) []byte {
				cmd := exec.Command(name, args...)
				var errs bytes.Buffer
				cmd.Dir, cmd.Stderr = dir, &errs
				cmd.Env = append(os.Environ(), "GNUPGHOME="+dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
					"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a",
					"GIT_COMMITTER_EMAIL=a@example.com")
				out, err := cmd.Output()
				g.Expect(err).NotTo(HaveOccurred(), "%s %v: %s", name, args, errs.String())
				return out
			}
			var public []byte
			config := []string{"-c", "user.signingkey=a@example.com", "-c", "gpg.format=openpgp"}
			if program == "ssh" {
				need(t, "ssh-keygen")
				run("ssh-keygen", "-q", "-t", algorithm, "-N", "", "-C", "a@example.com", "-f", "key")
				public, err = os.ReadFile(filepath.Join(dir, "key.pub"))
				g.Expect(err).NotTo(HaveOccurred())
				config = []string{"-c", "user.signingkey=" + filepath.Join(dir, "key"), "-c", "gpg.format=ssh"}
			} else {
				need(t, "gpg")
				run("gpg", "--batch", "-q", "--passphrase", "", "--quick-gen-key", "A <a@example.com>", algorithm,
					"sign", "1y")
				public = run("gpg", "--armor", "--export", "a@example.com")
			}
			run("git", "init", "-q", "repository")
			git := func(args ...string) []byte {
				return run("git", append(append([]string{"-C", "repository"}, config...), args...)...)
			}
			git("commit", "-q", "--allow-empty", "-S", "-m", "subject", "-m", "body\n\n-----BEGIN SSH SIGNATURE-----\n")
			git("tag", "-s", "-m", "release", "v1")
			keys, err := signature.ParseKeys(map[string][]byte{"key": public})
			g.Expect(err).NotTo(HaveOccurred())
			head := string(bytes.TrimSpace(git("rev-parse", "HEAD")))
			c, err := keys.Commit(git("cat-file", "commit", "HEAD"), time.Now())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(c.Tree).To(Equal(string(bytes.TrimSpace(git("rev-parse", "HEAD^{tree}")))))
			v, err := keys.Tag(git("cat-file", "tag", "v1"), time.Now())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(v).To(Equal(signature.Tag{Signer: c.Signer, Name: "v1", Type: "commit", Object: head}))
		})
	}
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not installed")
	}
}
