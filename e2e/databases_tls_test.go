package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// encrypted backs up a server that takes only encrypted connections. The mover checks the server's certificate and
// refuses that of another authority.
func (a *databasesApp) encrypted(t *testing.T) {
	loadDatabases(t, a.bed, "postgresql")
	g, k := NewWithT(t), a.kinds()[0]
	server := newPostgreSQL(a.bed, a.namespace)
	server.Name, server.TLS = "vault", "vault-tls"
	k.databaseServer = server
	authority, key, certificate := serverCertificate(t, "an authority", "vault."+a.namespace+".svc")
	stranger, _, _ := serverCertificate(t, "a stranger", "vault."+a.namespace+".svc")
	for name, data := range map[string]map[string][]byte{
		"vault-tls":      {"tls.key": key, "tls.crt": certificate},
		"vault-login":    {"username": []byte(databaseUser), "password": []byte(databasePassword), "ca.crt": authority},
		"vault-stranger": {"username": []byte(databaseUser), "password": []byte(databasePassword), "ca.crt": stranger},
	} {
		secret := &corev1.Secret{ObjectMeta: a.meta(name), Data: data}
		g.Expect(a.bed.Client.Create(t.Context(), secret)).To(Succeed())
	}
	server.start(t)
	k.say(t, k.fill...)
	before := k.say(t, k.look...)
	k.params = "secretName: vault-login"
	a.configure(t, "vault", k, k.params)
	snapshot := a.backUp(t, "vault")
	k.say(t, k.drop...)
	a.restored(t, "vault", k, snapshot, "")
	g.Expect(k.say(t, k.look...)).To(Equal(before))

	a.configure(t, "vault-stranger", k, "secretName: vault-stranger")
	a.failed(t, "vault-stranger", a.start(t, "vault-stranger"), "certificate verify failed", 0)
}

// serverCertificate is an authority, and a server's key and certificate of it, in PEM.
func serverCertificate(t *testing.T, name, host string) (authority, key, certificate []byte) {
	t.Helper()
	g, until := NewWithT(t), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: until,
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: root.NotBefore, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	g.Expect(err).NotTo(HaveOccurred())
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	g.Expect(err).NotTo(HaveOccurred())
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	g.Expect(err).NotTo(HaveOccurred())
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	return encode("CERTIFICATE", rootDER), encode("PRIVATE KEY", private), encode("CERTIFICATE", leafDER)
}
