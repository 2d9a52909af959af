package signature

import (
	"bytes"
	"crypto/rsa"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// namespace is what Git signs for. A signature for another purpose, such as a file, counts for nothing.
const namespace = "git"

func (k *Keys) verifySSH(payload, armoured []byte) (string, error) {
	if err := alone(armoured, beginSSH, endSSH); err != nil {
		return "", err
	}
	sig, err := sshsig.Unarmor(armoured) // it refuses SHA-1, and hash functions other than SHA-256 and SHA-512
	if err != nil {
		return "", unreadable("of SSH, by a key or an algorithm that is not supported")
	}
	name := sshName(sig.PublicKey)
	trusted, ok := k.ssh[string(sig.PublicKey.Marshal())]
	if !ok {
		return "", refuse(unknown, name)
	}
	if sig.Namespace != namespace {
		return "", refuse("has a signature of %s that was not made for Git: sign it with git commit -S or "+
			"git tag -s", name)
	}
	if err := sshsig.Verify(bytes.NewReader(payload), sig, trusted, sig.HashAlgorithm, namespace); err != nil {
		return "", refuse(different, name)
	}
	return name, nil
}

func sshName(key ssh.PublicKey) string { return "SSH key " + ssh.FingerprintSHA256(key) }

// gitOnly is the one option of allowed_signers that Cairn knows.
const gitOnly = `namespaces="git"`

// addSSH adds the key of one line as in authorized_keys ("<type> <key>") or in allowed_signers ("<principals> <type>
// <key>", with the option namespaces="git" or none). Principals do not matter: each key counts for each commit.
func (k *Keys) addSSH(line string) error {
	fields := strings.Fields(line)
	if len(fields) > 2 && !isKeyType(fields[0]) && isKeyType(fields[1]) {
		fields = fields[1:]
	} else if len(fields) > 3 && fields[1] == gitOnly && isKeyType(fields[2]) {
		fields = fields[2:]
	}
	if len(fields) < 2 || !isKeyType(fields[0]) {
		return refuse("has a line that is no public key: put OpenPGP public keys there (gpg --armor --export), or " +
			"SSH public keys as <type> <key> or <principals> <type> <key>, without options but " + gitOnly)
	}
	if before, _, _ := strings.Cut(line, fields[0]); strings.Contains(before, "cert-authority") ||
		strings.Contains(strings.ReplaceAll(before, gitOnly, ""), "=") {
		return refuse("has an SSH key with options: leave them out, only " + gitOnly + " is supported")
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(fields[0] + " " + fields[1]))
	if err != nil || key.Type() != fields[0] {
		return refuse("has an SSH public key that can't be read: copy it from the file that ends with .pub")
	}
	if why := weakSSH(key); why != "" {
		return refuse("has %s, which is %s: use Ed25519, ECDSA, or RSA of at least %d bits", sshName(key), why, minRSA)
	}
	k.ssh[string(key.Marshal())] = key
	k.added++
	return nil
}

// keyTypes are the types of SSH keys that can be trusted. DSA and certificates are not among them.
var keyTypes = map[string]bool{
	ssh.KeyAlgoRSA: true, ssh.KeyAlgoED25519: true, ssh.KeyAlgoSKED25519: true, ssh.KeyAlgoSKECDSA256: true,
	ssh.KeyAlgoECDSA256: true, ssh.KeyAlgoECDSA384: true, ssh.KeyAlgoECDSA521: true,
}

func isKeyType(text string) bool { return keyTypes[text] }

// weakSSH returns why a key is too weak, or "".
func weakSSH(key ssh.PublicKey) string {
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return ""
	}
	if public, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && public.N.BitLen() < minRSA {
		return "RSA of too few bits"
	}
	return ""
}
