package signature

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/crypto/ssh"
)

// maxKeys bounds all trusted keys together, in bytes, and is the size of the largest Secret.
const maxKeys = 1 << 20

// Keys are trusted public keys. Each of them can sign each object.
type Keys struct {
	ssh     map[string]ssh.PublicKey // by their wire format
	openpgp openpgp.EntityList
	digest  string
	added   int // keys, with those that are in two values
}

// ParseKeys reads the data of a Secret, of which each value holds at least one public key: armoured OpenPGP blocks, or
// lines as in authorized_keys or allowed_signers of OpenSSH. Empty lines, and lines that begin with #, are comments. An
// error is an *Error that names the key of the Secret.
func ParseKeys(data map[string][]byte) (*Keys, error) {
	k := &Keys{ssh: map[string]ssh.PublicKey{}}
	sum, size := sha256.New(), 0
	if len(data) == 0 {
		return nil, refuse("has no keys: add the public keys that are trusted")
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if size += len(data[name]); size > maxKeys {
			return nil, refuse("is larger than %d bytes: keep only the public keys that are trusted", maxKeys)
		}
		before := k.added
		if err := k.add(string(data[name])); err != nil {
			return nil, refuse("key %q %s", name, err)
		}
		if k.added == before {
			return nil, refuse("key %q has no public key: add a public key, or remove it", name)
		}
		sum.Write([]byte(strconv.Quote(name) + strconv.Quote(string(data[name]))))
	}
	k.digest = hex.EncodeToString(sum.Sum(nil))
	return k, nil
}

// Digest identifies the trusted keys. It changes with each of them.
func (k *Keys) Digest() string { return k.digest }

// The lines around an OpenPGP key.
const (
	beginPublic = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	endPublic   = "-----END PGP PUBLIC KEY BLOCK-----"
)

// add adds the keys of one value.
func (k *Keys) add(value string) error {
	var block []string
	for line := range strings.Lines(value) {
		line = strings.TrimSpace(line)
		switch {
		case block != nil:
			if block = append(block, line); line == endPublic {
				if err := k.addOpenPGP(strings.Join(block, "\n")); err != nil {
					return err
				}
				block = nil
			}
		case line == beginPublic:
			block = []string{line}
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE KEY"):
			return refuse("has a private key: put only public keys there, and treat this one as stolen")
		default:
			if err := k.addSSH(line); err != nil {
				return err
			}
		}
	}
	if block != nil {
		return refuse("has an OpenPGP key that does not end: export it with gpg --armor --export")
	}
	return nil
}
