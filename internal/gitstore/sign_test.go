package gitstore

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
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

	signer, err := newOpenPGPSigner(private.Bytes(), nil, time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	r := newRemote(t)
	s := r.open(t, func(o *Options) { o.Signer = signer })
	_, err = s.Update(ctx, put(map[string]string{record(0): "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	r.git("verify-commit", branch)
	r.check(g, map[string]string{record(0): "x"})
}

// TestSigningKeysRefused checks that each key that could not sign is refused when it is read, and that no message holds
// anything of it.
func TestSigningKeysRefused(t *testing.T) {
	t.Parallel()
	good := []byte(newSSHKey(t))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	weakBlock, err := ssh.MarshalPrivateKey(weak, "")
	must(t, err)
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(strong, "", []byte("pass"))
	must(t, err)
	private, public := newOpenPGPKey(t, nil)
	expired, _ := newOpenPGPKey(t, &packet.Config{
		Time: func() time.Time { return time.Now().AddDate(-2, 0, 0) }, KeyLifetimeSecs: 3600,
	})
	for name, tt := range map[string]struct {
		data map[string][]byte
		says string // empty: it is taken
	}{
		"an SSH key":         {map[string][]byte{"identity": good, "known_hosts": []byte("x")}, ""},
		"an OpenPGP key":     {map[string][]byte{"git.asc": private}, ""},
		"nothing":            {nil, "the Secret has neither the key identity"},
		"an empty key":       {map[string][]byte{"identity": {}}, "the Secret has neither the key identity"},
		"another name":       {map[string][]byte{"ssh-privatekey": good}, "the Secret has neither the key identity"},
		"both":               {map[string][]byte{"identity": good, "git.asc": private}, "keep one of them"},
		"no SSH key":         {map[string][]byte{"identity": []byte("hunter2")}, "the SSH private key can't be read"},
		"a passphrase":       {map[string][]byte{"identity": pem.EncodeToMemory(locked)}, "has a passphrase"},
		"a short RSA key":    {map[string][]byte{"identity": pem.EncodeToMemory(weakBlock)}, "less than 2048 bits"},
		"no OpenPGP key":     {map[string][]byte{"git.asc": []byte("hunter2")}, "OpenPGP private key can't be read"},
		"a public key":       {map[string][]byte{"git.asc": public}, "is a public one"},
		"an expired key":     {map[string][]byte{"git.asc": expired}, "has expired"},
		"half a private key": {map[string][]byte{"identity": good[:len(good)/2]}, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			signer, err := SignerFromSecretData(tt.data, time.Now())
			if tt.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(signer.Sign(bytes.NewReader([]byte("commit")))).To(HavePrefix("-----BEGIN "))
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tt.says)))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}

// newOpenPGPKey returns an armored private key and its public key.
func newOpenPGPKey(t *testing.T, config *packet.Config) (private, public []byte) {
	t.Helper()
	entity, err := openpgp.NewEntity("Cairn", "", "cairn@example.com", config)
	must(t, err)
	encode := func(block string, write func(w io.Writer) error) []byte {
		var out bytes.Buffer
		w, err := armor.Encode(&out, block, nil)
		must(t, err)
		must(t, write(w))
		must(t, w.Close())
		return out.Bytes()
	}
	return encode(openpgp.PrivateKeyType, func(w io.Writer) error { return entity.SerializePrivate(w, config) }),
		encode(openpgp.PublicKeyType, entity.Serialize)
}
