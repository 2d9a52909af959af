package source

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
)

// TestAPolicyReachesNoServerOfTheMachine tests that the URL of a PolicySync leads to no server that only the manager
// reaches. Before, it did, and the error had the server's answer: "does not answer as it should (HTTP status 500
// Internal Server Error: aws_secret=TOPSECRET-METADATA)".
func TestAPolicyReachesNoServerOfTheMachine(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("aws_secret=TOPSECRET-METADATA"))
	}))
	defer s.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	g.Expect(err).NotTo(HaveOccurred())
	rules, err := egress.New(egress.Rules{})
	g.Expect(err).NotTo(HaveOccurred())
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1.2.3", "[::1]"} {
		both(t, "http://"+host+":"+port+"/x", Ref{}, Auth{Network: rules}, func(err error) {
			sentence(g, err, ErrUnreachable, "Cairn does not connect there, because it is loopback")
			g.Expect(err.Error()).To(And(ContainSubstring(strings.Trim(host, "[]")),
				ContainSubstring("--egress-allow=")))
		})
	}
	auth := Auth{Network: rules, Identity: newKey(t), KnownHosts: otherHostKey(t, "localhost:"+port)}
	both(t, "ssh://git@localhost:"+port+"/x", Ref{}, auth, func(err error) {
		sentence(g, err, ErrUnreachable, "Cairn does not connect there, because it is loopback")
	})
	g.Expect(asked.Load()).To(BeZero())

	both(t, s.URL+"/x", Ref{}, Auth{Network: egress.Anywhere()}, func(err error) {
		sentence(g, err, ErrUnreachable, "HTTP status 500 Internal Server Error")
		g.Expect(err.Error()).NotTo(ContainSubstring("TOPSECRET"))
	})
}
