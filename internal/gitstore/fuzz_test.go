package gitstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Bounds of the packs that the fuzz tests read.
var fuzzed = Download{Pack: 1 << 20, Object: 64 << 10, Unpacked: 256 << 10}

// somePack returns a pack with blobs that are like each other, so that some are deltas.
func somePack(f *testing.F, deltas bool) []byte {
	f.Helper()
	store, hashes := memory.NewStorage(), []plumbing.Hash{}
	for i := range 3 {
		h, err := store.SetEncodedObject(newBlob([]byte(strings.Repeat("a line of a file\n", 20+i))))
		if err != nil {
			f.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	window := uint(0)
	if deltas {
		window = 10
	}
	var out bytes.Buffer
	if _, err := packfile.NewEncoder(&out, store, false).Encode(hashes, window); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

// FuzzPack takes a pack that a server sends. What is stored is no larger than the limits say, and each object has the
// name of its content.
func FuzzPack(f *testing.F) {
	head := []byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01")
	for _, pack := range [][]byte{somePack(f, false), somePack(f, true), head} {
		f.Add(pack)
		f.Add(pack[:len(pack)/2])
	}
	f.Fuzz(func(t *testing.T, pack []byte) {
		checkStored(t, pack, func(context.Context, []byte) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(slices.Concat([]byte("0008NAK\n"), pack))), nil
		})
	})
}

// FuzzAnswer takes a whole answer of a server, with its packets and channels.
func FuzzAnswer(f *testing.F) {
	for _, pack := range [][]byte{somePack(f, false), somePack(f, true)} {
		var out bytes.Buffer
		e := pktline.NewEncoder(&out)
		_ = e.EncodeString("NAK\n")
		_ = e.Encode(slices.Concat([]byte{1}, pack[:50]))
		_ = e.EncodeString("\x02progress\n")
		_ = e.Encode(slices.Concat([]byte{1}, pack[50:]))
		_ = e.Flush()
		f.Add(out.Bytes())
	}
	f.Add([]byte("0008NAK\n0013\x03out of memory\n"))
	f.Add([]byte("0032shallow " + strings.Repeat("a", 40) + "0000"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		checkStored(t, answer, func(context.Context, []byte) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(answer)), nil
		}, capability.Sideband64k, capability.Shallow)
	})
}

// saying is a conversation with a server that says anything.
type saying struct {
	adv    *packp.AdvRefs
	answer func(ctx context.Context, body []byte) (io.ReadCloser, error)
}

func (s saying) refs() *packp.AdvRefs { return s.adv }
func (s saying) exchange(ctx context.Context, body []byte) (io.ReadCloser, error) {
	return s.answer(ctx, body)
}
func (saying) repeatable() bool { return true }
func (saying) Close() error     { return nil }

// checkStored downloads an answer, and checks what was stored.
func checkStored(
	t *testing.T, said []byte, answer func(context.Context, []byte) (io.ReadCloser, error),
	caps ...capability.Capability,
) {
	t.Helper()
	adv := packp.NewAdvRefs()
	for _, c := range caps {
		_ = adv.Capabilities.Set(c)
	}
	d := fuzzed
	d.TempDir = t.TempDir()
	l := &Listing{conversation: saying{adv, answer}}
	store := memory.NewStorage()
	r := request{want: []plumbing.Hash{BlobHash([]byte("x"))}, depth: 1}
	err := l.download(t.Context(), r, d, store)
	if err != nil && errors.Is(err, errLocal) {
		t.Fatalf("%v", err)
	}
	if err != nil && len(err.Error()) > len(said)+1000 {
		t.Errorf("%d bytes make an error of %d", len(said), len(err.Error()))
	}
	if left, _ := filepath.Glob(filepath.Join(d.TempDir, "*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
	var total int64
	for name, o := range store.Objects {
		b, err := content(o)
		if err != nil {
			t.Fatal(err)
		}
		if total += int64(len(b)); int64(len(b)) > d.Object || total > d.Unpacked {
			t.Errorf("an object has %d bytes, all so far %d", len(b), total)
		}
		if plumbing.ComputeHash(o.Type(), b) != name {
			t.Errorf("the content of %s has another name", name)
		}
	}
}

// FuzzObjects reads trees and commits from an object directory. Their decoders are go-git's; whatever they do, the
// store says that the objects are damaged.
func FuzzObjects(f *testing.F) {
	f.Add([]byte("100644 a\x00"+strings.Repeat("\x01", 20)), "tree 1\nauthor a <a> 1 +0000\n\nx")
	f.Add([]byte("40000 ..\x00"), "tree "+strings.Repeat("a", 40)+"\ngpgsig x\n y\n\n")
	f.Add([]byte("x"), "parent")
	f.Fuzz(func(t *testing.T, tree []byte, commit string) {
		o, err := openObjects(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		write := func(kind plumbing.ObjectType, content []byte) plumbing.Hash {
			obj := &plumbing.MemoryObject{}
			obj.SetType(kind)
			_, _ = obj.Write(content)
			h, err := o.write(obj)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		read, err := o.tree(write(plumbing.TreeObject, tree))
		if err != nil && !errors.Is(err, errCorrupt) {
			t.Errorf("%v", err)
		}
		if err == nil && len(read.Entries) > len(tree)/22 {
			t.Errorf("%d bytes have %d entries", len(tree), len(read.Entries))
		}
		if _, err := o.commit(write(plumbing.CommitObject, []byte(commit))); err != nil && !errors.Is(err, errCorrupt) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzAdvertisement reads the list of refs with which each conversation begins.
func FuzzAdvertisement(f *testing.F) {
	line := strings.Repeat("a", 40) + " refs/heads/main\x00shallow object-format=sha1\n"
	f.Add([]byte("004d" + line + "0000"))
	f.Add([]byte("001e# service=git-upload-pack\n0000"))
	f.Add([]byte("0010ERR nothing\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		adv, err := readAdvertisement(bytes.NewReader(said))
		if err == nil && len(adv.References)+len(adv.Peeled)+len(adv.Shallows) > len(said)/40 {
			t.Errorf("%d bytes make %d refs", len(said), len(adv.References))
		}
		if err != nil && len(err.Error()) > len(said)+1000 {
			t.Errorf("%d bytes make an error of %d", len(said), len(err.Error()))
		}
	})
}

// FuzzReport reads what a server says of a push. Only a report that names the ref as updated counts as one.
func FuzzReport(f *testing.F) {
	for _, said := range []string{
		"000eunpack ok\n0019ok refs/heads/records\n0000", "000eunpack ok\n0000",
		"000eunpack ok\n0018ok refs/heads/other\n0000",
		"0011unpack error\n0000", "000eunpack ok\n0021ng refs/heads/records refused\n0000",
	} {
		f.Add([]byte(said))
	}
	s := &Store{ref: "refs/heads/records"}
	f.Fuzz(func(t *testing.T, said []byte) {
		caps := capability.NewList()
		_ = caps.Set(capability.ReportStatus)
		if err := s.readReply(bytes.NewReader(said), caps); err == nil &&
			(!bytes.Contains(said, []byte("unpack ok")) || !bytes.Contains(said, []byte("ok refs/heads/records"))) {
			t.Errorf("%q counts as a success", said)
		}
		_ = caps.Set(capability.Sideband64k)
		_ = s.readReply(bytes.NewReader(said), caps)
	})
}

// FuzzURLs reads URLs of objects. One that is accepted is accepted again in its own spelling, and stays the same
// repository of the same server.
func FuzzURLs(f *testing.F) {
	for _, raw := range []string{
		"https://Git.Example.com:443/a%2Fb.git/", "git@example.com:a/b", "ssh://x@[::1]:22/~/a",
		"http://a/../b", "file:///a",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseURL(raw)
		if err != nil {
			return
		}
		if _, secret := u.User.Password(); secret || u.Scheme == "file" || u.Host == "" {
			t.Errorf("%q is accepted", raw)
		}
		for _, of := range []func(string) (string, error){NormalizeURL, Endpoint} {
			first, err := of(raw)
			if err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			if again, err := of(u.String()); err != nil || again != first {
				t.Errorf("%q is %q, and as %q it is %q: %v", raw, first, u, again, err)
			}
		}
	})
}

// FuzzAuth reads the Secret of a repository. Errors quote nothing of it.
func FuzzAuth(f *testing.F) {
	f.Add("https://example.com/a", "password", []byte("precious-"))
	f.Add("ssh://example.com/a", "identity", []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nprecious-\n"))
	f.Fuzz(func(t *testing.T, raw, key string, value []byte) {
		u, err := ParseURL(raw)
		if err != nil {
			return
		}
		secret := slices.Concat([]byte("precious-value "), value)
		if _, err := AuthFromSecretData(u, map[string][]byte{key: secret}); err != nil &&
			strings.Contains(err.Error(), "precious-value") {
			t.Errorf("%v", err)
		}
	})
}
