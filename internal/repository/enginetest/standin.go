package enginetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// standInside is set in the environment of a process that takes a local server for a cloud.
const standInside = "CAIRN_TEST_STAND_IN"

// Certificate makes a self-signed certificate for names. Without names it is for 127.0.0.1.
func Certificate(t testing.TB, names ...string) (certFile, keyFile string, ca []byte) {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if len(names) == 0 {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private, err := x509.MarshalPKCS8PrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	g.Expect(os.WriteFile(certFile, ca, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)).
		To(Succeed())
	return certFile, keyFile, ca
}

// standIn runs the test again in a process that takes the TLS server at address for all of names: the clients of a
// cloud know no other names. The process gets a proxy that connects exactly these names to the server, and it trusts
// the authority in ca. A process reads both settings only once.
func standIn(t *testing.T, address, ca string, names []string, env ...string) {
	t.Helper()
	g := NewWithT(t)
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	again := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	again.Env = append(
		append(os.Environ(), standInside+"=1", "SSL_CERT_FILE="+ca, "HTTPS_PROXY="+proxyTo(t, address, names),
			"NO_PROXY="),
		env...)
	out, err := again.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(string(out)).To(ContainSubstring("--- PASS: "+t.Name()), "the test ran")
}

// proxyTo starts a proxy that connects names to address.
func proxyTo(t *testing.T, address string, names []string) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.Host); err != nil || r.Method != http.MethodConnect ||
			!slices.Contains(names, host) {
			http.Error(w, "this proxy leads elsewhere", http.StatusForbidden)
			return
		}
		server, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = server.Close() }()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		done := make(chan struct{}, 2)
		pipe := func(to io.Writer, from io.Reader) {
			_, _ = io.Copy(to, from) // ends when one side hangs up
			done <- struct{}{}
		}
		go pipe(server, client)
		go pipe(client, server)
		<-done
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}
