package enginetest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/repository"
)

// StartGCS starts fake-gcs-server, which stops with the test, and returns a bucket on it. Google's clients find the
// server through the environment, so a test that calls StartGCS can't be parallel.
func StartGCS(t testing.TB) repository.GCS {
	t.Helper()
	g := NewWithT(t)
	addr := UnusedAddress(t)
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		Scheme: "http", Host: "127.0.0.1", Port: uint16(addr.Port), PublicHost: addr.String(), ExternalURL: "http://" +
			addr.String(), Writer: io.Discard,
	})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "bucket"})
	t.Setenv("STORAGE_EMULATOR_HOST", addr.String())
	return repository.GCS{Bucket: "bucket", Ambient: true, Egress: egress.Anywhere()}
}

// gcsNames are the host names that Google's clients use.
var gcsNames = []string{"storage.googleapis.com", "oauth2.googleapis.com"}

const (
	gcsKeyFile = "CAIRN_TEST_GCS_KEY"
	gcsToken   = "a token of this test"
)

// OnGCSWithKey runs test with a bucket on fake-gcs-server that needs the JSON key of its service account. A guard in
// front of the server behaves like Google's: it gives tokens only for requests that the key has signed.
func OnGCSWithKey(t *testing.T, test func(*testing.T, repository.GCS)) {
	t.Helper()
	g := NewWithT(t)
	if file := os.Getenv(gcsKeyFile); file != "" {
		key, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		test(t, repository.GCS{Bucket: "bucket", Credentials: key, Egress: egress.Anywhere()})
		return
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	server, err := fakestorage.NewServerWithOptions(
		fakestorage.Options{NoListener: true, ExternalURL: "https://" + gcsNames[0]})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "bucket"})

	cert, certKey, _ := Certificate(t, gcsNames...)
	pair, err := tls.LoadX509KeyPair(cert, certKey)
	g.Expect(err).NotTo(HaveOccurred())
	front := httptest.NewUnstartedServer(guarded(&private.PublicKey, server.HTTPHandler()))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	front.StartTLS()
	t.Cleanup(front.Close)
	standIn(t, front.Listener.Addr().(*net.TCPAddr).String(), cert, gcsNames, gcsKeyFile+"="+GCSKey(t, private))
}

// GCSKey writes the JSON key of a service account and returns the name of the file.
func GCSKey(t testing.TB, private *rsa.PrivateKey) string {
	t.Helper()
	g := NewWithT(t)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	g.Expect(err).NotTo(HaveOccurred())
	key, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "test", "private_key_id": "1",
		"client_email": "cairn@test.iam.gserviceaccount.com",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "client_id": "1",
		"token_uri": "https://oauth2.googleapis.com/token", "universe_domain": "googleapis.com",
	})
	g.Expect(err).NotTo(HaveOccurred())
	file, err := os.CreateTemp(t.TempDir(), "key")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = file.Close() }()
	_, err = file.Write(key)
	g.Expect(err).NotTo(HaveOccurred())
	return file.Name()
}

// guarded gives a token to the owner of the key. It passes on requests with that token, or with a token that the key
// has signed.
func guarded(public *rsa.PublicKey, behind http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "oauth2.googleapis.com" {
			if !signed(public, r.FormValue("assertion")) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, gcsToken)
			return
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token != gcsToken && !signed(public, token) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"code":401,"message":"Invalid Credentials"}}`)
			return
		}
		behind.ServeHTTP(w, r)
	})
}

// signed reports whether a JSON web token has the signature of the key.
func signed(public *rsa.PublicKey, token string) bool {
	text, signature, found := strings.Cut(token, ".")
	payload, signature, more := strings.Cut(signature, ".")
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	sum := sha256.Sum256([]byte(text + "." + payload))
	return found && more && err == nil && rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], raw) == nil
}
