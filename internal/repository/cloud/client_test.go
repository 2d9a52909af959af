package cloud_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// TestClientsThatTakeNoDialerAreGuarded tests that what kopia's clients connect with goes by the rules: a copy of
// http.DefaultTransport, that one itself, and the client of Azure's library. It can't be parallel: a process has one of
// each.
func TestClientsThatTakeNoDialerAreGuarded(t *testing.T) {
	g := NewWithT(t)
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer s.Close()
	loopback := ContainSubstring("Cairn does not connect there, because it is loopback")
	g.Expect(cloud.Guard(repository.Storage{S3: &repository.S3{Ambient: true}})).To(Succeed())
	transport := http.DefaultTransport.(*http.Transport)
	for name, rt := range map[string]http.RoundTripper{"a copy": transport.Clone(), "the original": transport} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r, err := http.NewRequestWithContext(t.Context(), method, s.URL, nil)
			g.Expect(err).NotTo(HaveOccurred())
			answer, err := rt.RoundTrip(r)
			if err == nil {
				_ = answer.Body.Close()
			}
			g.Expect(err).To(MatchError(loopback), name)
		}
	}
	azure, err := azblob.NewClientWithNoCredential(strings.Replace(s.URL, "http://", "https://", 1)+"/", nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = azure.CreateContainer(t.Context(), "c", nil)
	g.Expect(err).To(MatchError(loopback))
	g.Expect(asked).To(BeZero())

	g.Expect(cloud.Guard(repository.Storage{S3: &repository.S3{Egress: egress.Anywhere()}})).To(Succeed())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	g.Expect(err).NotTo(HaveOccurred())
	answer, err := transport.Clone().RoundTrip(r)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.Body.Close()).To(Succeed())
	g.Expect(asked).To(Equal(1))
}
