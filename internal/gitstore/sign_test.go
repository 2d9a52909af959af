package gitstore

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// C git verifies our signature, and refuses it after a change.
func TestSSHSignature(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(rsaKey, "", []byte("pass"))
	must(t, err)
	for name, tc := range map[string]struct{ key, passphrase []byte }{
		"ed25519":             {[]byte(newSSHKey(t)), nil},
		"RSA with passphrase": {pem.EncodeToMemory(block), []byte("pass")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ctx := NewWithT(t), t.Context()
			signer, err := newSSHSigner(tc.key, tc.passphrase)
			g.Expect(err).NotTo(HaveOccurred())
			allowed := filepath.Join(t.TempDir(), "allowed")
			public := ssh.MarshalAuthorizedKey(signer.(sshSigner).key.PublicKey())
			must(t, os.WriteFile(allowed, append([]byte("cairn@example.com "), public...), 0o600))
			r := newRemote(t, withConfig("gpg.format=ssh", "gpg.ssh.allowedSignersFile="+allowed))
			s := r.open(t, func(o *Options) { o.Signer = signer })
			for i := range 3 {
				_, err = s.Update(ctx, put(map[string]string{record(i): "x"}))
				g.Expect(err).NotTo(HaveOccurred())
				r.git("verify-commit", branch)
			}
			r.check(g, map[string]string{record(0): "x", record(1): "x", record(2): "x"})
			forged := bytes.Replace([]byte(r.git("cat-file", "commit", branch)), []byte("record"), []byte("forged"), 1)
			h := lines(runInput(t, r.repo, bytes.NewReader(forged), "git", "hash-object", "-t", "commit", "-w",
				"--stdin"))[0]
			g.Expect(exec.Command("git", "-C", r.repo, "verify-commit", h).Run()).NotTo(Succeed())
		})
	}
	_, err = newSSHSigner(pem.EncodeToMemory(block), nil)
	NewWithT(t).Expect(err).To(HaveOccurred())
}

func TestOpenPGPSignature(t *testing.T) {
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed")
	}
	g, ctx := NewWithT(t), t.Context()
	entity, err := openpgp.NewEntity("Cairn", "", "cairn@example.com", nil)
	g.Expect(err).NotTo(HaveOccurred())
	var private, public bytes.Buffer
	w, err := armor.Encode(&private, openpgp.PrivateKeyType, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entity.SerializePrivate(w, nil)).To(Succeed())
	g.Expect(w.Close()).To(Succeed())
	g.Expect(entity.Serialize(&public)).To(Succeed())

	home, err := os.MkdirTemp("", "gnupg") // socket paths are short
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	t.Setenv("GNUPGHOME", home)
	runInput(t, home, &public, "gpg", "--batch", "-q", "--import")

	signer, err := newOpenPGPSigner(private.Bytes(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	r := newRemote(t)
	s := r.open(t, func(o *Options) { o.Signer = signer })
	_, err = s.Update(ctx, put(map[string]string{record(0): "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	r.git("verify-commit", branch)
	r.check(g, map[string]string{record(0): "x"})
}
