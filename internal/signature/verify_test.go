package signature_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/signature"
	"github.com/cairn-backup/cairn/internal/signature/signaturetest"
)

const (
	tree   = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	commit = "tree " + tree + "\nparent 1234567890123456789012345678901234567890\n" +
		"author A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n\nsubject\n\nbody\n"
	tag = "object 1234567890123456789012345678901234567890\ntype commit\ntag v1\n" +
		"tagger A <a@example.com> 1700000000 +0000\n\nrelease\n"
)

func keysOf(t testing.TB, keys ...*signaturetest.Key) *signature.Keys {
	t.Helper()
	data := map[string][]byte{}
	for i, k := range keys {
		data[string(rune('a'+i))] = []byte(k.Public)
	}
	out, err := signature.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kinds of keys.
var kinds = map[string]func(testing.TB) *signaturetest.Key{
	"SSH":     signaturetest.SSH,
	"SSH RSA": func(t testing.TB) *signaturetest.Key { return signaturetest.RSA(t, 2048) },
	"OpenPGP": func(t testing.TB) *signaturetest.Key { return signaturetest.OpenPGP(t, nil) },
}

func TestVerified(t *testing.T) {
	t.Parallel()
	for kind, newKey := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g, key, now := NewWithT(t), newKey(t), time.Now()
			keys := keysOf(t, signaturetest.SSH(t), key, signaturetest.OpenPGP(t, nil))
			g.Expect(keys.Commit(signaturetest.SignCommit([]byte(commit), key), now)).
				To(Equal(signature.Commit{Signer: key.Name, Tree: tree}))
			g.Expect(keys.Tag(signaturetest.SignTag([]byte(tag), key), now)).To(Equal(signature.Tag{
				Signer: key.Name, Name: "v1", Type: "commit", Object: "1234567890123456789012345678901234567890",
			}))
		})
	}
}

func TestAChangedByteIsFound(t *testing.T) {
	t.Parallel()
	for kind, newKey := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g, key, now := NewWithT(t), newKey(t), time.Now()
			keys := keysOf(t, key)
			of, ofTag := key.Sign([]byte(commit)), key.Sign([]byte(tag))
			for i := range commit {
				if changed := []byte(commit); commit[i] != '\n' {
					changed[i] ^= 1
					_, err := keys.Commit(signaturetest.Commit(changed, of), now)
					g.Expect(err).To(HaveOccurred(), "byte %d", i)
				}
			}
			for i := range tag {
				changed := []byte(tag)
				changed[i] ^= 1
				_, err := keys.Tag(append(changed, ofTag...), now)
				g.Expect(err).To(HaveOccurred(), "byte %d", i)
			}
			_, err := keys.Commit(append(signaturetest.Commit([]byte(commit), of), '\n'), now)
			g.Expect(err).To(MatchError(ContainSubstring("does not fit the content")))
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	trusted, pgp := signaturetest.SSH(t), signaturetest.OpenPGP(t, nil)
	otherSSH, otherPGP := signaturetest.SSH(t), signaturetest.OpenPGP(t, nil)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forFiles := signaturetest.OfSSH(t, private, "file")
	keys := keysOf(t, trusted, pgp, forFiles)
	raw := []byte(commit)
	good, goodPGP := trusted.Sign(raw), pgp.Sign(raw)
	for name, tc := range map[string]struct {
		commit []byte
		want   string
	}{
		"unsigned": {raw, "has no signature: sign it with a trusted key"},
		"unknown SSH key": {
			signaturetest.SignCommit(raw, otherSSH), "is signed with " + otherSSH.Name + ", which is not trusted",
		},
		"unknown OpenPGP key": {
			signaturetest.SignCommit(raw, otherPGP), "is signed with " + otherPGP.Name + ", which is not trusted",
		},
		"SSH for files": {signaturetest.SignCommit(raw, forFiles), "was not made for Git"},
		"of another commit": {
			signaturetest.Commit(raw, trusted.Sign([]byte("tree "+tree+"\n\nother\n"))),
			"has a signature of " + trusted.Name + " that does not fit the content",
		},
		"of another commit, OpenPGP": {
			signaturetest.Commit(raw, pgp.Sign([]byte("tree "+tree+"\n\nother\n"))),
			"has a signature of " + pgp.Name + " that does not fit the content",
		},
		"two headers":              {signaturetest.Commit(raw, good, goodPGP), "more than one signature"},
		"two equal headers":        {signaturetest.Commit(raw, good, good), "more than one signature"},
		"two blocks in one header": {signaturetest.Commit(raw, good+goodPGP), "more than one signature"},
		"two blocks of SSH":        {signaturetest.Commit(raw, good+good), "more than one signature"},
		"a header for another hash": {
			bytes.Replace(signaturetest.Commit(raw, good), []byte("gpgsig "), []byte("gpgsig-sha256 "), 1),
			"more than one signature",
		},
		"text before": {signaturetest.Commit(raw, "hello\n"+good), "neither of OpenPGP nor of SSH"},
		"text behind": {signaturetest.Commit(raw, good+"hello\n"), "something stands beside it"},
		"empty block": {
			signaturetest.Commit(raw, "-----BEGIN SSH SIGNATURE-----\n\n-----END SSH SIGNATURE-----\n"),
			"can't be read",
		},
		"empty block, OpenPGP": {
			signaturetest.Commit(raw, "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"),
			"can't be read",
		},
		"no block": {
			signaturetest.Commit(raw, "-----BEGIN SIGNED MESSAGE-----\nMIIB\n-----END SIGNED MESSAGE-----\n"),
			"neither of OpenPGP nor of SSH",
		},
		"a signed parent first": {
			signaturetest.SignCommit([]byte("parent "+tree+"\n"+commit), trusted), "does not begin with its tree",
		},
		"no message": {[]byte("tree " + tree + "\n"), "has no empty line"},
		"nothing":    {nil, "has no empty line"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			_, err := keys.Commit(tc.commit, time.Now())
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(err).To(BeAssignableToTypeOf(&signature.Error{}))
		})
	}
	for name, tc := range map[string]struct {
		tag  []byte
		want string
	}{
		"unsigned":    {[]byte(tag), "has no signature"},
		"unknown key": {signaturetest.SignTag([]byte(tag), otherPGP), "is not trusted"},
		"text behind": {append(signaturetest.SignTag([]byte(tag), trusted), "more\n"...), "something stands beside it"},
		"of a commit": {signaturetest.SignTag(raw, trusted), "does not begin with object, type and tag"},
		"header": {
			signaturetest.SignTag([]byte(strings.Replace(tag, "tagger", "gpgsig x\ntagger", 1)), trusted),
			"more than one",
		},
		"an unknown one behind a trusted one": {
			signaturetest.SignTag(signaturetest.SignTag([]byte(tag), trusted), otherSSH), "is not trusted",
		},
	} {
		t.Run("tag, "+name, func(t *testing.T) {
			t.Parallel()
			_, err := keys.Tag(tc.tag, time.Now())
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

// An OpenPGP key signs nothing outside of its time, whatever time the signature names.
func TestAnExpiredKey(t *testing.T) {
	t.Parallel()
	made := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	whenMade := signaturetest.At(made)
	whenMade.KeyLifetimeSecs = uint32(30 * day / time.Second)
	entity, err := openpgp.NewEntity("Author", "", "author@example.com", whenMade)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		signed, now time.Time
		want        string
	}{
		"valid":                     {made.Add(day), made.Add(2 * day), ""},
		"expired":                   {made.Add(40 * day), made.Add(40 * day), "which has expired"},
		"signed before it expired":  {made.Add(day), made.Add(40 * day), "which has expired"},
		"a clock that is ahead":     {made.Add(day), made.Add(day - 4*time.Minute), ""},
		"signed in the future":      {made.Add(2 * day), made.Add(day), "counts for another time"},
		"signed before it was made": {made.Add(-day), made.Add(day), "key"},
		"before the key was made":   {made.Add(day), made.Add(-day), "key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			signer := signaturetest.OfOpenPGP(t, entity, whenMade)
			armoured := signWith(t, entity, crypto.SHA256, tc.signed) // as a thief would, whatever the clock shows
			_, err := keysOf(t, signer).Commit(signaturetest.Commit([]byte(commit), armoured), tc.now)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(And(ContainSubstring(tc.want), ContainSubstring(signer.Name))))
			}
		})
	}
}

// signWith signs the commit with a hash function that the library can refuse.
func signWith(t *testing.T, entity *openpgp.Entity, hash crypto.Hash, at time.Time) string {
	t.Helper()
	sig := &packet.Signature{
		Version: entity.PrimaryKey.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: entity.PrimaryKey.PubKeyAlgo,
		Hash: hash, CreationTime: at, IssuerKeyId: &entity.PrimaryKey.KeyId,
		IssuerFingerprint: entity.PrimaryKey.Fingerprint,
	}
	config := &packet.Config{NonDeterministicSignaturesViaNotation: new(false)} // not with SHA-1
	h, err := sig.PrepareSign(config)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = h.Write([]byte(commit))
	if err := sig.Sign(h, entity.PrivateKey, config); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := sig.Serialize(&raw); err != nil {
		t.Fatal(err)
	}
	return armourOf(t, raw.Bytes())
}

func TestWeakKeys(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	entity, err := openpgp.NewEntity("Author", "", "author@example.com", nil)
	g.Expect(err).NotTo(HaveOccurred())
	key := signaturetest.OfOpenPGP(t, entity, nil)
	now := time.Now()
	g.Expect(keysOf(t, key).Commit(signaturetest.Commit([]byte(commit), signWith(t, entity, crypto.SHA256, now)), now)).
		Error().NotTo(HaveOccurred())
	_, err = keysOf(t, key).Commit(signaturetest.Commit([]byte(commit), signWith(t, entity, crypto.SHA1, now)), now)
	g.Expect(err).To(MatchError(ContainSubstring("by an algorithm that is too weak")))

	twice := armourOf(t, bytes.Repeat(dearmoured(t, []byte(signWith(t, entity, crypto.SHA256, now))), 2))
	_, err = keysOf(t, key).Commit(signaturetest.Commit([]byte(commit), twice), now)
	g.Expect(err).To(MatchError(ContainSubstring("more than one signature")))

	revoked, err := openpgp.NewEntity("Author", "", "author@example.com", nil)
	g.Expect(err).NotTo(HaveOccurred())
	old := signWith(t, revoked, crypto.SHA256, now)
	g.Expect(revoked.Revoke(packet.KeySuperseded, "new key", nil)).To(Succeed())
	_, err = keysOf(t, signaturetest.OfOpenPGP(t, revoked, nil)).Commit(signaturetest.Commit([]byte(commit), old), now)
	g.Expect(err).To(MatchError(ContainSubstring("which is revoked")))
}

func TestSizes(t *testing.T) {
	t.Parallel()
	g, key := NewWithT(t), signaturetest.SSH(t)
	keys := keysOf(t, key)
	long := strings.Repeat("x", signature.MaxObject)
	_, err := keys.Commit(signaturetest.SignCommit([]byte(commit+long), key), time.Now())
	g.Expect(err).To(MatchError(ContainSubstring("is larger than")))
	_, err = keys.Tag(signaturetest.SignTag([]byte(tag+long), key), time.Now())
	g.Expect(err).To(MatchError(ContainSubstring("is larger than")))
	_, err = keys.Commit(signaturetest.Commit([]byte(commit), "-----BEGIN SSH SIGNATURE-----\n"+
		strings.Repeat("U1NIU0lH\n", 10_000)+"-----END SSH SIGNATURE-----\n"), time.Now())
	g.Expect(err).To(MatchError(ContainSubstring("it is too large")))
	_, err = signature.ParseKeys(map[string][]byte{"a": []byte(strings.Repeat("# comment\n", 200_000))})
	g.Expect(err).To(MatchError(ContainSubstring("is larger than")))
}

func FuzzVerify(f *testing.F) {
	key, pgp := signaturetest.SSH(f), signaturetest.OpenPGP(f, nil)
	keys := keysOf(f, key, pgp)
	for _, k := range []*signaturetest.Key{key, pgp} {
		f.Add(signaturetest.SignCommit([]byte(commit), k))
		f.Add(signaturetest.SignTag([]byte(tag), k))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := keys.Commit(raw, time.Now())
		if err == nil && (c.Tree != tree || !bytes.HasSuffix(raw, []byte("\n\nsubject\n\nbody\n"))) {
			t.Errorf("a commit is accepted that nobody has signed: %q", raw)
		}
		if v, err := keys.Tag(raw, time.Now()); err == nil && v.Name != "v1" {
			t.Errorf("a tag is accepted that nobody has signed: %q", raw)
		}
	})
}
