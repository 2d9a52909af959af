package source

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/signature"
	"github.com/cairn-backup/cairn/internal/signature/signaturetest"
)

// raw returns an object of Git.
func (s *server) raw(kind, name string) []byte {
	s.t.Helper()
	cmd := exec.Command("git", "cat-file", kind, name)
	cmd.Dir = s.work
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// store stores an object of Git and returns its hash.
func (s *server) store(kind string, raw []byte) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "object")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.run(s.work, "hash-object", "--literally", "-t", kind, "-w", file)
}

// commitSigned pushes files to main in a commit that keys have signed, and returns the commit.
func (s *server) commitSigned(files map[string]string, keys ...*signaturetest.Key) string {
	s.t.Helper()
	s.commit(files)
	hash := s.store("commit", signaturetest.SignCommit(s.raw("commit", "HEAD"), keys...))
	s.run(s.work, "reset", "-q", "--soft", hash)
	s.run(s.work, "push", "-q", "-f", "origin", "HEAD:refs/heads/main")
	return hash
}

// tag pushes an annotated tag of an object, named name inside, as the ref refs/tags/<ref>. It returns the tag.
func (s *server) tag(ref, name, kind, object string, keys ...*signaturetest.Key) string {
	s.t.Helper()
	raw := fmt.Appendf(nil, "object %s\ntype %s\ntag %s\ntagger A <a@example.com> 1700000000 +0000\n\nrelease\n",
		object, kind, name)
	for _, key := range keys {
		raw = signaturetest.SignTag(raw, key)
	}
	hash := s.store("tag", raw)
	s.run(s.work, "push", "-q", "-f", "origin", hash+":refs/tags/"+ref)
	return hash
}

func verifyWith(t testing.TB, commit, tag bool, keys ...*signaturetest.Key) *Verify {
	t.Helper()
	data := map[string][]byte{}
	for i, k := range keys {
		data[fmt.Sprint(i)] = []byte(k.Public)
	}
	parsed, err := signature.ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	return &Verify{Commit: commit, Tag: tag, Keys: parsed, Now: time.Now()}
}

func TestFetchVerified(t *testing.T) {
	t.Parallel()
	for transport, overSSH := range map[string]bool{"HTTP": false, "SSH": true} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			url, auth := s.url(), s.auth()
			if overSSH {
				url, auth = s.ssh()
			}
			key, other := signaturetest.SSH(t), signaturetest.OpenPGP(t, nil)
			unsigned := s.commit(map[string]string{"a": "0"})
			s.tag("of-unsigned", "of-unsigned", "commit", unsigned, other)
			signed := s.commitSigned(map[string]string{"a": "1"}, key)
			s.tag("v1", "v1", "commit", signed, other)
			s.run(s.work, "tag", "light")
			s.run(s.work, "push", "-q", "origin", "light")
			s.tag("unsigned", "unsigned", "commit", signed)
			s.tag("renamed", "v1", "commit", signed, other)
			s.tag("nested", "nested", "tag", s.tag("inner", "inner", "commit", signed, other), other)
			stranger := signaturetest.SSH(t)
			s.tag("strange", "strange", "commit", signed, stranger)

			for name, tc := range map[string]struct {
				ref         Ref
				commit, tag bool
				signers     Signers
				kind        error
				message     string
			}{
				"a commit":             {Ref{}, true, false, Signers{Commit: key.Name}, nil, ""},
				"a commit by hash":     {Ref{Commit: signed}, true, false, Signers{Commit: key.Name}, nil, ""},
				"the commit of a tag":  {Ref{Tag: "light"}, true, false, Signers{Commit: key.Name}, nil, ""},
				"a tag":                {Ref{Tag: "v1"}, false, true, Signers{Tag: other.Name}, nil, ""},
				"a tag and its commit": {Ref{Tag: "v1"}, true, true, Signers{key.Name, other.Name}, nil, ""},
				"a tag of any commit":  {Ref{Tag: "of-unsigned"}, false, true, Signers{Tag: other.Name}, nil, ""},
				"an unsigned commit": {
					Ref{Commit: unsigned},
					true, false,
					Signers{},
					ErrCommitSignature, "commit " + unsigned + " has no signature",
				},
				"a signed tag alone": {
					Ref{Tag: "of-unsigned"},
					true, true,
					Signers{},
					ErrCommitSignature, "has no signature",
				},
				"a light tag": {
					Ref{Tag: "light"},
					false, true,
					Signers{},
					ErrTagSignature, "tag light is not annotated",
				},
				"an unsigned tag": {
					Ref{Tag: "unsigned"},
					false, true,
					Signers{},
					ErrTagSignature, "tag unsigned has no signature",
				},
				"a renamed tag": {
					Ref{Tag: "renamed"},
					false, true,
					Signers{},
					ErrTagSignature, `tag renamed is signed as tag "v1"`,
				},
				"a tag of a tag": {
					Ref{Tag: "nested"},
					false, true,
					Signers{},
					ErrTagSignature, "tag nested is of a tag",
				},
				"a tag of a stranger": {
					Ref{Tag: "strange"},
					true, true,
					Signers{},
					ErrTagSignature, stranger.Name + ", which is not trusted",
				},
				"the tag of a branch": {
					Ref{},
					false, true,
					Signers{},
					ErrVerificationMode, "branch main is no tag",
				},
				"the tag of a commit": {
					Ref{Commit: signed},
					true, true,
					Signers{},
					ErrVerificationMode, "is no tag",
				},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					g := NewWithT(t)
					rev, err := Resolve(t.Context(), url, tc.ref, auth)
					g.Expect(err).NotTo(HaveOccurred())
					for _, given := range []Revision{rev, {}} {
						dir := t.TempDir()
						got, signers, err := FetchVerified(t.Context(), url, tc.ref, auth, given, dir, Limits{},
							verifyWith(t, tc.commit, tc.tag, key, other))
						if tc.kind != nil {
							g.Expect(err).To(MatchError(tc.kind))
							g.Expect(err).To(MatchError(ContainSubstring(tc.message)))
							g.Expect(content(t, dir)).To(BeEmpty())
							continue
						}
						g.Expect(err).NotTo(HaveOccurred())
						g.Expect(got).To(Equal(rev))
						g.Expect(signers).To(Equal(tc.signers))
						g.Expect(content(t, dir)).To(HaveKey("a"))
					}
				})
			}
		})
	}
}

// lie makes the server answer with these refs, and with a pack of these objects, whatever it is asked for.
func (s *server) lie(refs []string, objects ...string) {
	s.t.Helper()
	packet := func(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }
	advertised := packet("# service=git-upload-pack\n") + "0000"
	for i, ref := range refs {
		if i == 0 {
			ref += "\x00ofs-delta"
		}
		advertised += packet(ref + "\n")
	}
	cmd := exec.Command("git", "pack-objects", "-q", "--stdout")
	cmd.Dir, cmd.Stdin = s.work, strings.NewReader(strings.Join(objects, "\n")+"\n")
	pack, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	s.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = w.Write([]byte(advertised + "0000"))
			return true
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = w.Write(append([]byte("0008NAK\n"), pack...))
		return true
	})
}

// The server itself is the attacker. It says what it likes about refs, and sends what it likes.
func TestAServerThatLies(t *testing.T) {
	t.Parallel()
	key := signaturetest.SSH(t)
	for name, tc := range map[string]struct {
		lie     func(s *server, tag, good, evil string)
		ref     Ref
		tag     bool
		kind    error
		message string
	}{
		"a signed tag, said to be of another commit": {
			func(s *server, tag, good, evil string) {
				s.lie([]string{evil + " refs/heads/main", tag + " refs/tags/v1", evil + " refs/tags/v1^{}"},
					tag, good, evil, s.run(s.work, "rev-parse", evil+"^{tree}"), s.run(s.work, "rev-parse", evil+":a"))
			},
			Ref{Tag: "v1"},
			true, ErrTagSignature, "but the server says that it is",
		},
		"an unsigned commit, said to be a signed tag": {
			func(s *server, _, _, evil string) {
				s.lie([]string{evil + " refs/heads/main", evil + " refs/tags/v1"},
					evil, s.run(s.work, "rev-parse", evil+"^{tree}"), s.run(s.work, "rev-parse", evil+":a"))
			},
			Ref{Tag: "v1"},
			true, ErrTagSignature, "is not annotated",
		},
		"a signed commit with another file": {
			func(s *server, _, good, evil string) {
				s.lie([]string{good + " refs/heads/main"},
					good, s.run(s.work, "rev-parse", good+"^{tree}"), s.run(s.work, "rev-parse", evil+":a"))
			},
			Ref{},
			false, nil, "",
		},
		"a signed commit with another tree": {
			func(s *server, _, good, evil string) {
				s.lie([]string{good + " refs/heads/main"},
					good, s.run(s.work, "rev-parse", evil+"^{tree}"), s.run(s.work, "rev-parse", evil+":a"))
			},
			Ref{},
			false, nil, "",
		},
		"another commit": {
			func(s *server, _, good, evil string) {
				s.lie([]string{good + " refs/heads/main"},
					evil, s.run(s.work, "rev-parse", evil+"^{tree}"), s.run(s.work, "rev-parse", evil+":a"))
			},
			Ref{},
			false, ErrRefNotFound, "does not exist",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := NewWithT(t), newServer(t)
			good := s.commitSigned(map[string]string{"a": "good"}, key)
			tag := s.tag("v1", "v1", "commit", good, key)
			evil := s.commit(map[string]string{"a": "evil"})
			tc.lie(s, tag, good, evil)
			dir := t.TempDir()
			_, _, err := FetchVerified(t.Context(), s.url(), tc.ref, s.auth(), Revision{}, dir, Limits{},
				verifyWith(t, !tc.tag, tc.tag, key))
			g.Expect(err).To(HaveOccurred())
			if tc.kind != nil {
				g.Expect(errors.Is(err, tc.kind)).To(BeTrue(), err.Error())
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.message)))
			for _, written := range content(t, dir) {
				g.Expect(written).NotTo(Equal("evil"))
			}
		})
	}
}

// Two files of one SHA-1, which were found in 2017, are two objects. go-git could take another implementation.
func TestCollisionsAreFound(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	one, two := collision(t)
	g.Expect(bytes.Equal(one, two)).To(BeFalse())
	g.Expect(plainSHA1(one)).To(Equal(plainSHA1(two)), "the files collide")
	g.Expect(gitSHA1(one)).NotTo(Equal(gitSHA1(two)))
}
