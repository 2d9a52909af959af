package signature

import (
	"bytes"
	"encoding/hex"
	"strings"
	"time"
)

// MaxObject bounds a commit or tag, in bytes. Their texts are written by people.
const MaxObject = 1 << 20

// maxSignature bounds an armoured signature, in bytes. One of RSA with 16,384 bits has 3 KiB.
const maxSignature = 64 << 10

// Commit is a commit that a trusted key has signed.
type Commit struct {
	// Signer is the name of the key, such as "SSH key SHA256:<hash>".
	Signer string
	// Tree is the hash of the tree that the signed bytes name.
	Tree string
}

// Tag is an annotated tag that a trusted key has signed.
type Tag struct {
	// Signer is the name of the key.
	Signer string
	// Name, Object and Type are the name of the tag, and the hash and type of what the signed bytes say that it tags.
	Name, Object, Type string
}

// Commit verifies a commit, given as Git stores it. An error is an *Error.
func (k *Keys) Commit(raw []byte, now time.Time) (Commit, error) {
	if len(raw) > MaxObject {
		return Commit{}, refuse(tooLarge, MaxObject)
	}
	payload, armoured, err := splitCommit(raw)
	if err != nil {
		return Commit{}, err
	}
	header, _, _ := bytes.Cut(payload, []byte("\n\n"))
	tree, ok := strings.CutPrefix(firstLine(header), "tree ")
	if !ok || !isHash(tree) {
		return Commit{}, refuse("does not begin with its tree: make it with Git")
	}
	signer, err := k.verify(payload, armoured, now)
	return Commit{Signer: signer, Tree: tree}, err
}

// Tag verifies an annotated tag, given as Git stores it. An error is an *Error.
func (k *Keys) Tag(raw []byte, now time.Time) (Tag, error) {
	if len(raw) > MaxObject {
		return Tag{}, refuse(tooLarge, MaxObject)
	}
	payload, armoured, err := splitTag(raw)
	if err != nil {
		return Tag{}, err
	}
	header, _, _ := strings.Cut(string(payload), "\n\n")
	lines := strings.Split(header, "\n")
	t := Tag{}
	for i, field := range []struct {
		name string
		into *string
	}{{"object ", &t.Object}, {"type ", &t.Type}, {"tag ", &t.Name}} {
		var ok bool
		if i < len(lines) {
			*field.into, ok = strings.CutPrefix(lines[i], field.name)
		}
		if !ok {
			return Tag{}, refuse("does not begin with object, type and tag: make it with Git")
		}
	}
	if !isHash(t.Object) {
		return Tag{}, refuse("does not name the hash of an object: make it with Git")
	}
	t.Signer, err = k.verify(payload, armoured, now)
	return t, err
}

// verify returns the name of the trusted key that has made an armoured signature of the payload.
func (k *Keys) verify(payload, armoured []byte, now time.Time) (string, error) {
	begins := strings.TrimRight(firstLine(armoured), "\r")
	switch {
	case len(armoured) == 0:
		return "", refuse(unsigned)
	case len(armoured) > maxSignature:
		return "", unreadable("it is too large")
	case begins == beginPGP:
		return k.verifyOpenPGP(payload, armoured, now)
	case begins == beginSSH:
		return k.verifySSH(payload, armoured)
	}
	return "", unreadable("it is neither of OpenPGP nor of SSH")
}

// The lines with which Git recognises signatures.
const (
	beginPGP = "-----BEGIN PGP SIGNATURE-----"
	endPGP   = "-----END PGP SIGNATURE-----"
	beginSSH = "-----BEGIN SSH SIGNATURE-----"
	endSSH   = "-----END SSH SIGNATURE-----"
)

// splitCommit returns what was signed, which is the commit without the header with the signature, and the signature.
// Git joins several such headers, and ignores headers for another hash function. Neither is accepted here: a reader
// must not have to choose.
func splitCommit(raw []byte) (payload, armoured []byte, err error) {
	header, message, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return nil, nil, refuse("has no empty line behind its headers: make it with Git")
	}
	found, inside := false, false
	for line := range bytes.Lines(append(bytes.Clone(header), '\n')) {
		text, isSignature := bytes.CutPrefix(line, []byte("gpgsig "))
		switch {
		case isSignature && found, !isSignature && bytes.HasPrefix(line, []byte("gpgsig")):
			return nil, nil, refuse(several)
		case isSignature:
			found, inside = true, true
			armoured = append(armoured, text...)
		case inside && line[0] == ' ':
			armoured = append(armoured, line[1:]...)
		default:
			inside = false
			payload = append(payload, line...)
		}
	}
	payload = append(append(payload, '\n'), message...)
	return payload, armoured, nil
}

// splitTag returns what was signed, which is everything before the last signature, and the signature.
func splitTag(raw []byte) (payload, armoured []byte, err error) {
	header, _, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return nil, nil, refuse("has no empty line behind its headers: make it with Git")
	}
	for line := range bytes.Lines(header) {
		if bytes.HasPrefix(line, []byte("gpgsig")) {
			return nil, nil, refuse(several)
		}
	}
	at, offset := len(raw), 0 // as in Git, a signature begins with the last such line
	for line := range bytes.Lines(raw) {
		if text := strings.TrimRight(string(line), "\r\n"); text == beginPGP || text == beginSSH {
			at = offset
		}
		offset += len(line)
	}
	if at < len(header) {
		return nil, nil, refuse("has a signature among its headers: make it with Git")
	}
	return raw[:at], raw[at:], nil
}

// alone returns an error unless a signature is one block, with nothing around it.
func alone(armoured []byte, begin, end string) error {
	text := strings.TrimSpace(strings.ReplaceAll(string(armoured), "\r\n", "\n"))
	inner, opened := strings.CutPrefix(text, begin+"\n")
	inner, closed := strings.CutSuffix(inner, "\n"+end)
	switch {
	case strings.Contains(inner, "-----BEGIN "):
		return refuse(several)
	case !opened || !closed || strings.Contains(inner, "-----"):
		return unreadable("something stands beside it")
	}
	return nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func isHash(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 40
}
