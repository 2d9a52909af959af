package gitstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// anywhere is a Network that connects to every address.
type anywhere struct{}

func (anywhere) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (anywhere) Proxy(*http.Request) (*url.URL, error) { return nil, nil }

// secretOfAnother is what a server says that is no Git server.
const secretOfAnother = "TOPSECRET-of-another-server"

// TestNothingOfAnotherServerIsShown tests that a URL can't be used to read what a server of the network says. Before,
// up to 1 KiB of its answer came back.
func TestNothingOfAnotherServerIsShown(t *testing.T) {
	t.Parallel()
	advertisement := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = io.WriteString(w, body)
	}
	raw := func(answer string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}
	}
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter)
		kind   error
		says   string
	}{
		"the body of an error": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, secretOfAnother)
		}, ErrUnreachable, "HTTP status 500 Internal Server Error"},
		"the type of an answer": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", secretOfAnother)
		}, ErrNoRepository, "not one of a Git server"},
		"an answer that claims to be Git's": {func(w http.ResponseWriter) {
			advertisement(w, fmt.Sprintf("%04x%s\n", len(secretOfAnother)+5, secretOfAnother))
		}, ErrUnreachable, "not one of a Git server"},
		"refs that are none": {func(w http.ResponseWriter) {
			advertisement(w, "001e# service=git-upload-pack\n0000"+
				fmt.Sprintf("%04x%s\n", len(secretOfAnother)+5, secretOfAnother))
		}, ErrUnreachable, "not one of a Git server"},
		"a greeting that is not HTTP": {raw(secretOfAnother + "\r\n"), ErrUnreachable, "not valid HTTP"},
		"a status that is none": {
			raw("HTTP/1.1 " + secretOfAnother + "\r\n\r\n"), ErrUnreachable, "not valid HTTP",
		},
		"a header that is none": {
			raw("HTTP/1.1 200 OK\r\n" + secretOfAnother + "\r\n\r\n"), ErrUnreachable,
			"not valid HTTP",
		},
		"a redirect": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://other/"+secretOfAnother)
			w.WriteHeader(http.StatusFound)
		}, ErrUnreachable, "redirected to another host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				tc.answer(w)
			}))
			defer server.Close()
			remote, err := NewRemote(server.URL+"/x", Auth{Network: anywhere{}})
			g.Expect(err).NotTo(HaveOccurred())
			defer remote.Close()
			_, err = remote.List(t.Context())
			g.Expect(err).To(And(MatchError(tc.kind), MatchError(ContainSubstring(tc.says))))
			g.Expect(err.Error()).NotTo(ContainSubstring("TOPSECRET"))
		})
	}
}

// TestWordsOfAGitServerAreShort tests that what a Git server says is shown in one line of printable characters.
func TestWordsOfAGitServerAreShort(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	said := "\x1b[31mhook declined\n" + strings.Repeat("x", 4000)
	err := (&Remote{}).classify("push", &refusal{"pre-receive", said})
	g.Expect(err).To(MatchError(ErrRefused))
	g.Expect(err.Error()).To(And(ContainSubstring("hook declined; xxx"), Not(ContainSubstring("\x1b"))))
	g.Expect(len(err.Error())).To(BeNumerically("<", 600))
}

// refusing is a Network that connects to nothing.
type refusing struct{ anywhere }

var errRefusedHere = errors.New("Cairn does not connect there")

func (refusing) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errRefusedHere
}

// TestANetworkIsRequired tests that nobody connects past the rules for addresses by forgetting them, that both
// transports keep them, and that the error says why.
func TestANetworkIsRequired(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	for _, address := range []string{"https://h/x", "ssh://git@h/x"} {
		auth := Auth{}
		if strings.HasPrefix(address, "ssh") {
			auth = Auth{Identity: newSSHKey(t), KnownHosts: []byte(knownHost(t, "h:22"))}
		}
		_, err := NewRemote(address, auth)
		g.Expect(err).To(MatchError(errNoNetwork))
		auth.Network = refusing{}
		remote, err := NewRemote(address, auth)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = remote.List(t.Context())
		g.Expect(err).To(And(MatchError(ErrUnreachable), MatchError(ContainSubstring(errRefusedHere.Error()))))
	}
}
