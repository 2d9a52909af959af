package signature

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// minRSA is the least number of bits of an RSA key.
const minRSA = 2048

// clockSkew is how far the clock of a signer can be ahead of ours.
const clockSkew = 5 * time.Minute

// config holds what is accepted: version 2 of the library refuses MD5, SHA-1 and RIPEMD-160 in signatures, and the
// public keys ElGamal, DSA and secp256k1.
func config(now time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return now }, MinRSABits: minRSA}
}

func (k *Keys) verifyOpenPGP(payload, armoured []byte, now time.Time) (string, error) {
	sig, raw, err := readOpenPGP(armoured)
	if err != nil {
		return "", err
	}
	name := "OpenPGP key " + issuer(sig)
	refusal := refuse(unknown, name)
	for _, entity := range k.openpgp.EntitiesById(*sig.IssuerKeyId) { // an id of 64 bits does not name one key alone
		name = openPGPName(entity)
		// The library asks whether the key was valid at the time that the signature names. Whoever has stolen a key
		// that has expired since then can name any time.
		err := validNow(entity, *sig.IssuerKeyId, now)
		if err == nil {
			_, _, err = openpgp.VerifyDetachedSignature(openpgp.EntityList{entity}, bytes.NewReader(payload),
				bytes.NewReader(raw), config(now.Add(clockSkew)))
		}
		if err == nil {
			return name, nil
		}
		refusal = openPGPError(name, err)
	}
	return "", refusal
}

// validNow returns an error unless the key of this id is strong enough, and neither expired nor revoked now.
func validNow(entity *openpgp.Entity, id uint64, now time.Time) error {
	if _, err := entity.VerifyPrimaryKey(now.Add(clockSkew), config(now)); err != nil {
		return err
	}
	for i := range entity.Subkeys {
		sub := &entity.Subkeys[i]
		if sub.PublicKey.KeyId != id {
			continue
		}
		if why := weakOpenPGP(sub.PublicKey); why != "" {
			return pgperrors.WeakAlgorithmError(why)
		}
		if _, err := sub.Verify(now.Add(clockSkew), config(now)); err != nil {
			return err
		}
	}
	return nil
}

// readOpenPGP reads the one signature of an armoured block, and returns its packet too.
func readOpenPGP(armoured []byte) (*packet.Signature, []byte, error) {
	if err := alone(armoured, beginPGP, endPGP); err != nil {
		return nil, nil, err
	}
	block, err := armor.Decode(bytes.NewReader(armoured))
	if err != nil {
		return nil, nil, unreadable("of OpenPGP")
	}
	packets := packet.NewOpaqueReader(block.Body)
	first, err := packets.Next()
	if err != nil {
		return nil, nil, unreadable("of OpenPGP")
	}
	if _, err := packets.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			return nil, nil, refuse(several)
		}
		return nil, nil, unreadable("of OpenPGP")
	}
	parsed, err := first.Parse()
	if err != nil {
		return nil, nil, unreadable("of OpenPGP")
	}
	sig, ok := parsed.(*packet.Signature)
	switch {
	case !ok, sig.SigType != packet.SigTypeBinary && sig.SigType != packet.SigTypeText:
		return nil, nil, unreadable("of OpenPGP, but not of a document")
	case sig.IssuerKeyId == nil:
		return nil, nil, unreadable("of OpenPGP, without the key that has made it")
	}
	var raw bytes.Buffer
	if err := first.Serialize(&raw); err != nil {
		return nil, nil, unreadable("of OpenPGP")
	}
	return sig, raw.Bytes(), nil
}

// issuer names the key that a signature says has made it: by its fingerprint or, in old signatures, by its id.
func issuer(sig *packet.Signature) string {
	if len(sig.IssuerFingerprint) > 0 {
		return strings.ToUpper(hex.EncodeToString(sig.IssuerFingerprint))
	}
	return strings.ToUpper(hex.EncodeToString(binary.BigEndian.AppendUint64(nil, *sig.IssuerKeyId)))
}

// openPGPName names a key by the fingerprint of its primary key, as gpg does.
func openPGPName(e *openpgp.Entity) string {
	return "OpenPGP key " + strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
}

func openPGPError(name string, err error) error {
	var weak pgperrors.WeakAlgorithmError
	var structure pgperrors.StructuralError
	switch {
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return refuse("is signed with %s, which has expired: replace it among the trusted keys by the same key with a "+
			"later end, or sign it with another trusted key", name)
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return refuse("is signed with %s, which is revoked: sign it with another trusted key", name)
	case errors.Is(err, pgperrors.ErrSignatureExpired), errors.Is(err, pgperrors.ErrSignatureOlderThanKey):
		return refuse("has a signature of %s that counts for another time (it has expired, is of the future, or is "+
			"older than the key): sign it again, and check the clock", name)
	case errors.As(err, &weak), strings.Contains(err.Error(), "insecure"):
		return refuse("is signed with %s by an algorithm that is too weak: sign it with SHA-256 or better, and with "+
			"Ed25519, ECDSA of a NIST curve, or RSA of at least %d bits", name, minRSA)
	case errors.As(err, &structure):
		return refuse("is signed with a part of %s that is not for signing: sign it with a subkey that is", name)
	}
	return refuse(different, name)
}

// addOpenPGP adds the keys of one armoured block.
func (k *Keys) addOpenPGP(block string) error {
	decoded, err := armor.Decode(strings.NewReader(block))
	if err != nil {
		return refuse("has an OpenPGP key that can't be read: export it with gpg --armor --export")
	}
	entities, err := openpgp.ReadKeyRing(decoded.Body)
	if err != nil || len(entities) == 0 {
		return refuse("has an OpenPGP key that can't be read: export it with gpg --armor --export")
	}
	for _, e := range entities {
		if e.PrivateKey != nil {
			return refuse("has a private key: put only public keys there, and treat this one as stolen")
		}
		if why := weakOpenPGP(e.PrimaryKey); why != "" {
			return refuse("has %s, which is %s: use Ed25519, ECDSA of a NIST curve, or RSA of at least %d bits",
				openPGPName(e), why, minRSA)
		}
	}
	k.openpgp = append(k.openpgp, entities...)
	k.added += len(entities)
	return nil
}

// weakOpenPGP returns why a key is too weak, or "".
func weakOpenPGP(key *packet.PublicKey) string {
	c := config(time.Time{})
	if c.RejectPublicKeyAlgorithm(key.PubKeyAlgo) {
		return "of DSA or ElGamal"
	}
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly:
		if bits, err := key.BitLength(); err != nil || bits < minRSA {
			return "RSA of too few bits"
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA:
		if curve, err := key.Curve(); err != nil || c.RejectCurve(curve) {
			return "of a curve that is not accepted"
		}
	}
	return ""
}
