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

	"github.com/fluxcd/pkg/ssh"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// fileServer is one server of files in a namespace of its own. Its data goes with its pod.
const fileServer = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: files}
spec:
  selector: {matchLabels: {app: files}}
  template:
    metadata: {labels: {app: files}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: files
        image: cairn.local/fileserver:dev
        ports: [{containerPort: 2222}, {containerPort: 8443}]
        readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 30}
        resources: {requests: {cpu: 10m, memory: 16Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        volumeMounts:
        - {name: data, mountPath: /data}
        - {name: auth, mountPath: /auth, readOnly: true}
      volumes:
      - {name: data, emptyDir: {}}
      - {name: auth, secret: {secretName: files}}
---
apiVersion: v1
kind: Service
metadata: {name: files}
spec:
  selector: {app: files}
  ports: [{name: sftp, port: 22, targetPort: 2222}, {name: webdav, port: 443, targetPort: 8443}]
---
apiVersion: v1
kind: Secret
metadata: {name: encryption}
stringData: {RESTIC_PASSWORD: a password for this test}
`

// TestStoragesOnServers backs up to and restores from an SFTP and a WebDAV server.
func TestStoragesOnServers(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	for name, storage := range map[string]string{
		"sftp": `
    provider: sftp
    sftp: {host: files.storage-sftp.svc, username: cairn, path: /data, prefix: backups, secretName: files}
`,
		"webdav": `
    provider: webdav
    webdav: {url: "https://files.storage-webdav.svc/", prefix: backups, secretName: files, maxConnections: 4}
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, namespace := NewWithT(t), "storage-"+name
			freshNamespace(t, bed, namespace, nil)
			g.Expect(bed.Client.Create(t.Context(), filesSecret(t, namespace))).To(Succeed())
			applyTo(t, bed, namespace, fileServer)
			files := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "files"}}
			g.Eventually(func(g Gomega) {
				g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(files), files)).To(Succeed())
				g.Expect(files.Status.AvailableReplicas).To(BeEquivalentTo(1))
			}, patience, time.Second).Should(Succeed(), "the server runs")
			applyTo(t, bed, namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: store}
spec:
  storage:`+storage)
			backUpAndRestore(t, bed, namespace, "{name: store}", "{name: encryption}")
		})
	}
}

// filesSecret is what server and storage both know.
func filesSecret(t *testing.T, namespace string) *corev1.Secret {
	t.Helper()
	g, host := NewWithT(t), "files."+namespace+".svc"
	hostKey, err := ssh.GenerateKeyPair(ssh.ED25519)
	g.Expect(err).NotTo(HaveOccurred())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	private, err := x509.MarshalPKCS8PrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "files"}, Data: map[string][]byte{
		"username": []byte("cairn"), "password": []byte("a password of this test"),
		"host_key": hostKey.PrivateKey, "known_hosts": append([]byte(host+" "), hostKey.PublicKey...),
		"tls.crt": chain, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		v1alpha1.StorageCACertData: chain,
	}}
}
