package source

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/gitkit"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// both runs Resolve and Fetch, which must fail alike.
func both(t *testing.T, url string, ref Ref, auth Auth, check func(error)) {
	t.Helper()
	_, err := Resolve(t.Context(), url, ref, auth)
	check(err)
	_, err = Fetch(t.Context(), url, ref, auth, Revision{}, t.TempDir(), Limits{})
	check(err)
}

// sentence is the form of every message.
func sentence(g *WithT, err error, kind error, says string) {
	g.Expect(err).To(MatchError(kind))
	g.Expect(err.Error()).To(ContainSubstring(says))
	g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
	g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
	g.Expect(len(err.Error())).To(BeNumerically("<", 600))
}

func TestErrors(t *testing.T) {
	s := newServer(t)
	s.commit(policy)
	s.run(s.bare, "update-ref", "refs/tags/blob", s.run(s.bare, "rev-parse", "main:README.md"))
	wrong, none, odd := s.auth(), Auth{Network: anywhere}, s.auth()
	wrong.Password = "CANARY-wrong"
	odd.BearerToken = "CANARY"
	for name, tc := range map[string]struct {
		path string
		ref  Ref
		auth Auth
		kind error
		says string
	}{
		"wrong password":    {"/repo.git", Ref{}, wrong, ErrAuth, "did not accept the credentials"},
		"no password":       {"/repo.git", Ref{}, none, ErrAuth, "check the Secret"},
		"two sorts of auth": {"/repo.git", Ref{}, odd, ErrAuth, "together"},
		"no such repository": {
			"/none.git",
			Ref{},
			s.auth(), ErrRepositoryNotFound,
			"/none.git that these credentials can see",
		},
		"no such branch": {
			"/repo.git",
			Ref{Branch: "nope"},
			s.auth(), ErrRefNotFound,
			`branch "nope" does not exist`,
		},
		"no such tag": {"/repo.git", Ref{Tag: "v9"}, s.auth(), ErrRefNotFound, `tag "v9" does not exist`},
		"short commit": {
			"/repo.git",
			Ref{Commit: "abc123"},
			s.auth(), ErrRefNotFound,
			"all 40 hexadecimal digits",
		},
		"branch by its full name": {
			"/repo.git",
			Ref{Branch: "refs/heads/main"},
			s.auth(), ErrRefNotFound,
			"without refs/heads/",
		},
		"not a branch name": {"/repo.git", Ref{Branch: "a..b"}, s.auth(), ErrRefNotFound, `"a..b"`},
		"an option": {
			"/repo.git", Ref{Branch: "--upload-pack=x"}, s.auth(), ErrRefNotFound, "can't be the name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, s.HTTPAddress()+tc.path, tc.ref, tc.auth, func(err error) {
				sentence(NewWithT(t), err, tc.kind, tc.says)
			})
		})
	}
	for name, tc := range map[string]struct {
		ref  Ref
		says string
	}{
		"no such commit":       {Ref{Commit: strings.Repeat("12", 20)}, strings.Repeat("12", 20)},
		"no such commit there": {Ref{Commit: strings.Repeat("12", 20), Branch: "main"}, strings.Repeat("12", 20)},
		"commit, no such branch": {
			Ref{Commit: strings.Repeat("12", 20), Branch: "nope"}, `branch "nope" does not exist`,
		},
		"commit that is a file": {Ref{Commit: s.run(s.bare, "rev-parse", "main:README.md")}, "not"},
		"tag of a file":         {Ref{Tag: "blob"}, "is not a commit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Fetch(t.Context(), s.url(), tc.ref, s.auth(), Revision{}, t.TempDir(), Limits{})
			sentence(NewWithT(t), err, ErrRefNotFound, tc.says)
		})
	}
}

func TestEmptyRepository(t *testing.T) {
	s := newServer(t)
	both(t, s.url(), Ref{}, s.auth(), func(err error) {
		sentence(NewWithT(t), err, ErrRefNotFound, `branch "main" does not exist`)
	})
	_, err := Fetch(t.Context(), s.url(), Ref{Commit: strings.Repeat("12", 20)}, s.auth(), Revision{}, t.TempDir(),
		Limits{})
	sentence(NewWithT(t), err, ErrRefNotFound, "")
}

func TestSSHErrors(t *testing.T) {
	s := newServer(t)
	s.commit(policy)
	url, auth := s.ssh()
	host := strings.TrimPrefix(s.SSHAddress(), "ssh://git@")
	change := func(f func(*Auth)) Auth { a := auth; f(&a); return a }
	for name, tc := range map[string]struct {
		url  string
		auth Auth
		kind error
		says string
	}{
		"no known_hosts": {
			url, change(func(a *Auth) { a.KnownHosts = nil }), ErrHostKey,
			"known_hosts is required for SSH",
		},
		"wrong host key": {
			url, change(func(a *Auth) { a.KnownHosts = otherHostKey(t, host) }), ErrHostKey,
			"put the server's present key into known_hosts",
		},
		"another host's key": {
			url, change(func(a *Auth) { a.KnownHosts = otherHostKey(t, "other:22") }), ErrHostKey,
			"known_hosts has no key of " + host,
		},
		"no identity": {
			url, change(func(a *Auth) { a.Identity = "" }), ErrAuth,
			"private key in identity can't be read",
		},
		"unreadable identity": {
			url, change(func(a *Auth) { a.Identity = "CANARY" }), ErrAuth,
			"private key in identity can't be read",
		},
		"no such repository": {
			strings.Replace(url, "repo.git", "none.git", 1), auth, ErrRepositoryNotFound, "none.git",
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, tc.url, Ref{}, tc.auth, func(err error) { sentence(NewWithT(t), err, tc.kind, tc.says) })
		})
	}
}

func TestUnknownIdentity(t *testing.T) {
	s := newServer(t)
	s.commit(policy)
	s.PublicKeyLookupFunc(func(string) (*gitkit.PublicKey, error) { return nil, errors.New("not known") })
	defer s.PublicKeyLookupFunc(func(string) (*gitkit.PublicKey, error) { return &gitkit.PublicKey{Id: "1"}, nil })
	url, auth := s.ssh()
	both(t, url, Ref{}, auth, func(err error) {
		sentence(NewWithT(t), err, ErrAuth, "did not accept the credentials")
	})
}

func otherHostKey(t *testing.T, host string) []byte {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(newKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(knownhosts.Line([]string{host}, key.PublicKey()) + "\n")
}

func TestURLs(t *testing.T) {
	for name, tc := range map[string]struct{ url, says string }{
		"file":                 {"file:///etc", `scheme "file" is not supported; use https://, ssh:// or http://`},
		"local path":           {"/etc/x.git", "no scheme"},
		"password":             {"https://u:CANARY@h/x", "move them to a Secret"},
		"token as user":        {"https://CANARY@h/x", "move them to a Secret"},
		"malformed with token": {"https://u:CANARY@h:bad/x", "malformed"},
		"empty":                {"", "no scheme"},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, tc.url, Ref{}, Auth{Network: anywhere}, func(err error) {
				sentence(NewWithT(t), err, ErrURL, tc.says)
			})
			_, err := ParseURL(tc.url)
			sentence(NewWithT(t), err, ErrURL, tc.says)
		})
	}
}

func TestAuthFromSecretData(t *testing.T) {
	g := NewWithT(t)
	u, err := ParseURL("git@h:x.git")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = AuthFromSecretData(u, map[string][]byte{"identity": []byte("CANARY")})
	sentence(g, err, ErrHostKey, "known_hosts")
	_, err = AuthFromSecretData(u, nil)
	sentence(g, err, ErrAuth, "identity")
	g.Expect(err).To(MatchError(ErrSecret))
	auth, err := AuthFromSecretData(u, map[string][]byte{"identity": []byte("i"), "known_hosts": []byte("k")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(auth.Identity).To(Equal(gitstore.Secret("i")))
}

func TestASecretForHTTPNeedsAKeyThatCounts(t *testing.T) {
	u, err := ParseURL("https://h/x.git")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		data  map[string][]byte
		fails bool
	}{
		"no Secret":          {nil, false},
		"empty":              {map[string][]byte{}, true},
		"keys of others":     {map[string][]byte{"user": []byte("u"), "token": []byte("CANARY")}, true},
		"keys for SSH":       {map[string][]byte{"identity": []byte("CANARY"), "known_hosts": []byte("h")}, true},
		"empty value":        {map[string][]byte{"bearerToken": {}}, true},
		"password":           {map[string][]byte{"username": []byte("u"), "password": []byte("CANARY")}, false},
		"bearer token":       {map[string][]byte{"bearerToken": []byte("CANARY")}, false},
		"authority alone":    {map[string][]byte{"ca.crt": []byte("x")}, false},
		"password, no user":  {map[string][]byte{"password": []byte("CANARY")}, true},
		"certificate, a key": {map[string][]byte{"tls.crt": []byte("x")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := AuthFromSecretData(u, tc.data)
			if !tc.fails {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			sentence(g, err, ErrAuth, "the Secret has")
			g.Expect(err).To(MatchError(ErrSecret))
		})
	}
}

// A refusal of the server is no fault of the Secret's form.
func TestASecretThatCannotBeReadIsNotARefusal(t *testing.T) {
	s := newServer(t)
	s.commit(policy)
	wrong, ca := s.auth(), s.auth()
	wrong.Password = "CANARY-wrong"
	ca.CAFile = []byte("CANARY")
	both(t, s.url(), Ref{}, wrong, func(err error) { NewWithT(t).Expect(err).NotTo(MatchError(ErrSecret)) })
	both(t, s.url(), Ref{}, ca, func(err error) {
		g := NewWithT(t)
		sentence(g, err, ErrAuth, "the CA file has no certificate")
		g.Expect(err).To(MatchError(ErrSecret))
	})
}

func TestHostDown(t *testing.T) {
	g := NewWithT(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	closed := l.Addr().String()
	g.Expect(l.Close()).To(Succeed())
	auth := Auth{Identity: newKey(t), KnownHosts: otherHostKey(t, closed), Network: anywhere}
	both(t, "http://"+closed+"/x", Ref{}, Auth{Network: anywhere},
		func(err error) { sentence(g, err, ErrUnreachable, "does not answer") })
	both(t, "ssh://git@"+closed+"/x", Ref{}, auth,
		func(err error) { sentence(g, err, ErrUnreachable, "does not answer") })

	// A call to a silent server ends with the context.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Resolve(ctx, "http://"+silent.Addr().String()+"/x", Ref{}, Auth{Network: anywhere})
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	sentence(g, err, ErrUnreachable, "check the URL, the network and the server")
}

func TestPrivateCertificate(t *testing.T) {
	g := NewWithT(t)
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	both(t, srv.URL+"/x", Ref{}, Auth{Network: anywhere}, func(err error) {
		sentence(g, err, ErrUnreachable, "ca.crt of the Secret")
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	both(t, srv.URL+"/x", Ref{}, Auth{CAFile: ca, Network: anywhere}, func(err error) {
		sentence(g, err, ErrRepositoryNotFound, "404")
	})
}

// Whatever a server echoes, no credential is in an error.
func TestNoCredentialInErrors(t *testing.T) {
	s := newServer(t)
	s.commit(policy)
	for _, code := range []int{400, 401, 403, 404, 418, 429, 500, 503, 200} {
		s.answer(func(w http.ResponseWriter, r *http.Request) bool {
			u, p, _ := r.BasicAuth()
			w.Header().Set("Retry-After", "9")
			http.Error(w, "you are "+u+":"+p+" ("+r.Header.Get("Authorization")+") https://"+u+":"+p+"@h/", code)
			return true
		})
		both(t, s.url(), Ref{}, s.auth(), func(err error) {
			g := NewWithT(t)
			var e *Error
			g.Expect(err).To(BeAssignableToTypeOf(e))
			g.Expect(err.Error()).NotTo(ContainSubstring("CANARY"))
			g.Expect(err.Error()).NotTo(ContainSubstring("cG9saWN5")) // base64 of the user
			if code == 429 {
				g.Expect(err.(*Error).RetryAfter).To(Equal(9 * time.Second))
			}
		})
	}
}
