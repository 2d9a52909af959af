// Package signaturetest makes keys for tests, and signs objects of Git with them.
package signaturetest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Key is a key that signs.
type Key struct {
	// Public is the public key as a user puts it into the Secret of trusted keys.
	Public string
	// Name is how messages call the key.
	Name string

	t    testing.TB
	sign func(payload []byte) string
}

// Sign returns an armoured signature.
func (k *Key) Sign(payload []byte) string {
	k.t.Helper()
	return k.sign(payload)
}

// SSH returns a new Ed25519 key of SSH.
func SSH(t testing.TB) *Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return OfSSH(t, private, "git")
}

// RSA returns a new RSA key of SSH.
func RSA(t testing.TB, bits int) *Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return OfSSH(t, private, "git")
}

// OfSSH returns the Key of a private key. It signs for a namespace, which is "git" for Git.
func OfSSH(t testing.TB, private any, namespace string) *Key {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{
		t: t, Public: string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		Name: "SSH key " + ssh.FingerprintSHA256(signer.PublicKey()),
		sign: func(payload []byte) string {
			sig, err := sshsig.Sign(bytes.NewReader(payload), signer, sshsig.HashSHA512, namespace)
			if err != nil {
				t.Fatal(err)
			}
			return string(sshsig.Armor(sig))
		},
	}
}

// OpenPGP returns a new OpenPGP key. It is made and signs as the configuration says; nil is for the defaults.
func OpenPGP(t testing.TB, config *packet.Config) *Key {
	t.Helper()
	entity, err := openpgp.NewEntity("Author", "", "author@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	return OfOpenPGP(t, entity, config)
}

// OfOpenPGP returns the Key of an entity with its private key.
func OfOpenPGP(t testing.TB, entity *openpgp.Entity, config *packet.Config) *Key {
	t.Helper()
	var public bytes.Buffer
	w, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err == nil {
		err = entity.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Key{
		t: t, Public: public.String() + "\n",
		Name: "OpenPGP key " + strings.ToUpper(hex.EncodeToString(entity.PrimaryKey.Fingerprint)),
		sign: func(payload []byte) string {
			var out bytes.Buffer
			err := openpgp.ArmoredDetachSign(&out, []*openpgp.Entity{entity}, bytes.NewReader(payload),
				&openpgp.SignParams{Config: config})
			if err != nil {
				t.Fatal(err)
			}
			return out.String() + "\n"
		},
	}
}

// At returns a configuration of OpenPGP whose clock shows a time.
func At(now time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return now }}
}

// Commit returns a commit with signatures, each in a header of its own.
func Commit(unsigned []byte, signatures ...string) []byte {
	header, message, _ := bytes.Cut(unsigned, []byte("\n\n"))
	out := bytes.NewBuffer(append(bytes.Clone(header), '\n'))
	for _, s := range signatures {
		out.WriteString("gpgsig " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n ") + "\n")
	}
	out.WriteString("\n")
	out.Write(message)
	return out.Bytes()
}

// SignCommit returns a commit that keys have signed.
func SignCommit(unsigned []byte, keys ...*Key) []byte {
	signatures := make([]string, len(keys))
	for i, k := range keys {
		signatures[i] = k.Sign(unsigned)
	}
	return Commit(unsigned, signatures...)
}

// SignTag returns a tag that a key has signed.
func SignTag(unsigned []byte, key *Key) []byte {
	return append(bytes.Clone(unsigned), key.Sign(unsigned)...)
}
