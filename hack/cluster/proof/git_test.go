package proof

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// gitServer runs the Git server as a user without rights, on a volume, and
// pushes from the machine to its service.
func gitServer(t *testing.T) {
	g := NewWithT(t)
	archive := filepath.Join(t.TempDir(), "gitserver.tar")
	for _, args := range [][]string{{"gitserver-image", "--out", archive}, {"load-image", archive}} {
		out, err := exec.Command("clusterctl", args...).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
	}
	must(t, "", "create", "secret", "generic", "git", "--from-literal=username=cairn", "--from-literal=password=secret")
	apply(t, gitServerManifest)
	field(t, 60*time.Second, "deployment/git", "{.status.readyReplicas}", "1")
	host := must(t, "", "get", "service", "git", "-o", "jsonpath={.spec.clusterIP}")
	url := "http://cairn:secret@" + host + "/team/repo.git"
	eventually(t, 10*time.Second, "kube-proxy knows the service",
		func() error { return ask("http://" + host + "/healthz") })

	work, clone := t.TempDir(), filepath.Join(t.TempDir(), "clone")
	g.Expect(os.WriteFile(filepath.Join(work, "file"), []byte("text"), 0o644)).To(Succeed())
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "file"},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=first"},
		{"push", url, "main"},
		{"clone", url, clone},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
		out, err := cmd.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
	}
	g.Expect(os.ReadFile(filepath.Join(clone, "file"))).To(BeEquivalentTo("text"))
}

const gitServerManifest = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: git}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: git}
spec:
  selector: {matchLabels: {app: git}}
  template:
    metadata: {labels: {app: git}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, fsGroup: 65532}
      containers:
      - name: git
        image: cairn.local/gitserver:dev
        args: [--root=/repositories, --auto-create, --username-file=/auth/username, --password-file=/auth/password]
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: repositories, mountPath: /repositories}, {name: auth, mountPath: /auth}]
      volumes:
      - {name: repositories, persistentVolumeClaim: {claimName: git}}
      - {name: auth, secret: {secretName: git}}
---
apiVersion: v1
kind: Service
metadata: {name: git}
spec: {selector: {app: git}, ports: [{port: 80, targetPort: 8080}]}
`
