package signature_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"

	"github.com/cairn-backup/cairn/internal/signature"
	"github.com/cairn-backup/cairn/internal/signature/signaturetest"
)

// armourOf armours packets of a signature.
func armourOf(t *testing.T, packets []byte) string {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.SignatureType, nil)
	if err == nil {
		_, err = w.Write(packets)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

func dearmoured(t *testing.T, armoured []byte) []byte {
	t.Helper()
	block, err := armor.Decode(bytes.NewReader(armoured))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(block.Body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Every form in which people have their public keys counts.
func TestKeysAccepted(t *testing.T) {
	t.Parallel()
	key, other, pgp := signaturetest.SSH(t), signaturetest.SSH(t), signaturetest.OpenPGP(t, nil)
	bare := strings.TrimSpace(key.Public)
	for name, value := range map[string]string{
		"authorized_keys":            key.Public,
		"with a comment":             bare + " alice@laptop\n",
		"without a line feed":        bare,
		"with CRLF":                  "# keys\r\n" + bare + "\r\n",
		"several lines and comments": "# alice\n" + key.Public + "\n\n# bob\n" + other.Public,
		"allowed_signers":            "alice@example.com,*@example.org " + key.Public,
		"allowed_signers, for Git":   `alice@example.com namespaces="git" ` + key.Public,
		"beside an OpenPGP key":      pgp.Public + key.Public + pgp.Public,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			keys, err := signature.ParseKeys(map[string][]byte{"x": []byte(value)})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = keys.Commit(signaturetest.SignCommit([]byte(commit), key), time.Now())
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	key := signaturetest.SSH(t)
	bare := strings.TrimSpace(key.Public)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	entity, err := openpgp.NewEntity("Author", "", "author@example.com",
		&packet.Config{RSABits: 1024, Algorithm: packet.PubKeyAlgoRSA})
	if err != nil {
		t.Fatal(err)
	}
	var secret bytes.Buffer
	w, err := armor.Encode(&secret, "PGP PUBLIC KEY BLOCK", nil)
	if err == nil {
		err = entity.SerializePrivate(w, nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ value, want string }{
		"nothing":                   {"", "has no public key"},
		"comments":                  {"# alice\n", "has no public key"},
		"a password":                {"hunter2", "has a line that is no public key"},
		"two words":                 {"alice hunter2", "has a line that is no public key"},
		"a good and a bad line":     {key.Public + "hunter2\n", "has a line that is no public key"},
		"an SSH private key":        {string(pem.EncodeToMemory(block)), "has a private key"},
		"an OpenPGP private key":    {secret.String(), "has a private key"},
		"RSA of 1024 bits":          {signaturetest.RSA(t, 1024).Public, "RSA of too few bits"},
		"RSA of 1024 bits, OpenPGP": {signaturetest.OfOpenPGP(t, entity, nil).Public, "RSA of too few bits"},
		"DSA":                       {"ssh-dss AAAAB3NzaC1kc3MAAACBAP", "has a line that is no public key"},
		"a certificate":             {"ssh-ed25519-cert-v01@openssh.com AAAA", "has a line that is no public key"},
		"a certificate authority":   {"cert-authority " + bare, "has an SSH key with options"},
		"a signer that expires":     {`alice valid-before="20260101" ` + bare, "has a line that is no public key"},
		"for files":                 {`alice namespaces="file" ` + bare, "has a line that is no public key"},
		"from an address":           {`from="10.0.0.1" ` + bare, "has an SSH key with options"},
		"a cut key":                 {bare[:40], "can't be read"},
		"another type":              {strings.Replace(bare, "ssh-ed25519", "ssh-rsa", 1), "can't be read"},
		"an OpenPGP key that does not end": {
			signaturetest.OpenPGP(t, nil).Public[:200], "does not end",
		},
		"an OpenPGP block of nothing": {
			"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n", "can't be read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			_, err := signature.ParseKeys(map[string][]byte{"good": []byte(key.Public), "bad.pub": []byte(tc.value)})
			g.Expect(err).To(MatchError(And(HavePrefix(`key "bad.pub" `), ContainSubstring(tc.want),
				Not(ContainSubstring("hunter2")))))
		})
	}
	_, err = signature.ParseKeys(nil)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("has no keys")))
}

func TestDigest(t *testing.T) {
	t.Parallel()
	g, a, b := NewWithT(t), signaturetest.SSH(t), signaturetest.SSH(t)
	g.Expect(keysOf(t, a, b).Digest()).To(Equal(keysOf(t, a, b).Digest()))
	g.Expect(keysOf(t, a, b).Digest()).NotTo(Equal(keysOf(t, a).Digest()))
	g.Expect(keysOf(t, a, b).Digest()).NotTo(Equal(keysOf(t, b, a).Digest()))
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(signaturetest.SSH(f).Public))
	f.Add([]byte(signaturetest.OpenPGP(f, nil).Public))
	f.Add([]byte(`alice namespaces="git" ssh-ed25519 AAAA`))
	f.Fuzz(func(_ *testing.T, value []byte) {
		_, _ = signature.ParseKeys(map[string][]byte{"x": value})
	})
}
