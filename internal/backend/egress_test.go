package backend_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
)

// secretOfAnother is what another server says. It has the form of no secret, which other rules would remove.
const secretOfAnother = "TOPSECRET of another server"

// other is a server that is no storage.
func other(t *testing.T) (address string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(secretOfAnother))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

func s3At(address string, rules *egress.Policy) repository.Storage {
	return repository.Storage{S3: &repository.S3{
		Endpoint: address, Plain: true, Bucket: "bucket", AccessKey: "a", SecretKey: "b", Region: "us-east-1",
		Egress: rules,
	}}
}

// TestAStorageReachesNoServerOfTheMachine tests that the address of a BackupStorage leads to no server that only a
// mover reaches. Before, it did, and the error had the server's answer: "read metadata.yaml: aws_secret=...".
func TestAStorageReachesNoServerOfTheMachine(t *testing.T) {
	address, asked := other(t)
	_, port, err := net.SplitHostPort(address)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	sftp, dav := enginetest.StartSFTP(t), repository.WebDAV{URL: "http://" + address}
	sftp.Egress = nil
	for name, storage := range map[string]repository.Storage{
		"S3": s3At(address, nil), "S3 by name": s3At("localhost:"+port, nil),
		"S3 as IPv6":     s3At("[::ffff:127.0.0.1]:"+port, nil),
		"S3 by identity": {S3: &repository.S3{Endpoint: address, Plain: true, Bucket: "bucket", Ambient: true}},
		"WebDAV":         {WebDAV: &dav},
		"SFTP":           {SFTP: &sftp},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if name == "S3 by identity" { // of the environment
				t.Setenv("AWS_ACCESS_KEY_ID", "a")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
			}
			s, err := backend.Open(storage)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = s.Get(t.Context(), "metadata.yaml")
			g.Expect(err).To(MatchError(repository.ErrUnreachable))
			g.Expect(err).To(MatchError(And(ContainSubstring("Cairn does not connect there, because it is loopback"),
				ContainSubstring("--egress-allow="))))
		})
	}
	NewWithT(t).Expect(asked.Load()).To(BeZero())
}

// TestNothingOfAnotherServerIsShown tests that a storage can't be used to read what a server of the network says.
func TestNothingOfAnotherServerIsShown(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	address, _ := other(t)
	xml := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("x-minio-error-desc", secretOfAnother)
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte("<Error><Code>" + secretOfAnother + "</Code><Message>" + secretOfAnother +
			"</Message></Error>"))
	}))
	t.Cleanup(xml.Close)
	for _, storage := range []repository.Storage{
		s3At(address, egress.Anywhere()), s3At(strings.TrimPrefix(xml.URL, "http://"), egress.Anywhere()),
		s3At(greeting(t), egress.Anywhere()),
		{WebDAV: &repository.WebDAV{URL: "http://" + address, Egress: egress.Anywhere()}},
		{WebDAV: &repository.WebDAV{URL: "http://" + greeting(t), Egress: egress.Anywhere()}},
	} {
		s, err := backend.Open(storage)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = s.Get(t.Context(), "metadata.yaml")
		g.Expect(err).To(HaveOccurred())
		g.Expect(err.Error()).NotTo(ContainSubstring("TOPSECRET"))
	}
}

// greeting is a server that does not speak HTTP.
func greeting(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			_, _ = conn.Write([]byte(secretOfAnother + "\r\n"))
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestAWebDAVServerSendsNobodyElsewhere tests that a redirect to another server is not followed.
func TestAWebDAVServerSendsNobodyElsewhere(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	address, asked := other(t)
	s := httptest.NewServer(http.RedirectHandler("http://"+address+"/latest", http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	store, err := backend.Open(repository.Storage{WebDAV: &repository.WebDAV{URL: s.URL, Egress: egress.Anywhere()}})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = store.Get(t.Context(), "metadata.yaml")
	g.Expect(err).To(MatchError(ContainSubstring("it redirects to another server")))
	g.Expect(asked.Load()).To(BeZero())
}

// TestAKeyOfGoogleIsThatOfAServiceAccount tests that no key makes Google's client read files or ask addresses.
func TestAKeyOfGoogleIsThatOfAServiceAccount(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		`{"type":"external_account","credential_source":{"url":"http://169.254.169.254/latest"}}`,
		`{"type":"external_account","credential_source":{"file":"/cairn/encryption/password"}}`, `{}`, `x`,
	} {
		_, err := backend.Open(repository.Storage{GCS: &repository.GCS{Bucket: "b", Credentials: []byte(key)}})
		NewWithT(t).Expect(err).To(And(MatchError(repository.ErrBadCredentials),
			MatchError(ContainSubstring("type is service_account"))))
	}
}
