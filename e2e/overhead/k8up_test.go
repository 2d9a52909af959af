package overhead

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// k8upOperator is K8up as its own documentation installs it, with an administrator's rights for short.
const k8upOperator = `
apiVersion: v1
kind: Namespace
metadata: {name: k8up}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: k8up}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: default, namespace: k8up}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: k8up-executor}
rules:
- {apiGroups: [k8up.io], resources: [snapshots], verbs: ["*"]}
- {apiGroups: [""], resources: [pods, pods/exec], verbs: [get, list, create]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: k8up, namespace: k8up}
spec:
  selector: {matchLabels: {app: k8up}}
  template:
    metadata: {labels: {app: k8up}}
    spec:
      containers:
      - name: k8up
        image: cairn.local/k8up:dev
        args: [operator]
        env:
        - {name: BACKUP_IMAGE, value: "cairn.local/k8up:dev"}
        - {name: BACKUP_OPERATOR_NAMESPACE, value: k8up}
        - {name: BACKUP_ENABLE_LEADER_ELECTION, value: "false"}
`

// k8upSchedule backs the namespace up; %[1]s is the endpoint, %[2]s the bucket, %[3]s the schedule.
const k8upSchedule = `
apiVersion: k8up.io/v1
kind: Schedule
metadata: {name: uploads, namespace: overhead-k8up}
spec:
  backend:
    repoPasswordSecretRef: {name: encryption, key: password}
    s3:
      endpoint: %[1]s
      bucket: %[2]s
      accessKeyIDSecretRef: {name: s3, key: AWS_ACCESS_KEY_ID}
      secretAccessKeySecretRef: {name: s3, key: AWS_SECRET_ACCESS_KEY}
  podSecurityContext: {runAsUser: 65532, runAsGroup: 65532}
  backup:
    schedule: "%[3]s"
    podSecurityContext: {runAsUser: 65532, runAsGroup: 65532}
`

// installK8up puts K8up's kinds, from its module, and its operator into the cluster.
func installK8up(ctx context.Context, b testing.TB, bed *testbed.Testbed, root string) {
	b.Helper()
	cmd := exec.CommandContext(ctx, "go", "list", "-C", filepath.Join(root, "hack", "bench", "peers", "k8up"), "-m",
		"-f", "{{.Dir}}", "github.com/k8up-io/k8up/v2")
	dir, err := cmd.Output()
	must(b, err)
	crds, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "apiextensions.k8s.io",
		"v1", "*.yaml"))
	must(b, err)
	if len(crds) == 0 {
		b.Fatal("the module of K8up has no CRDs")
	}
	for _, file := range crds {
		text, err := os.ReadFile(file)
		must(b, err)
		must(b, bed.Apply(ctx, text))
	}
	must(b, bed.LoadImage(ctx, "k8up"))
	must(b, bed.Apply(ctx, []byte(k8upOperator)))
}

// k8upRuns returns the Backups that K8up made, by name, and whether each has succeeded.
func k8upRuns(ctx context.Context, c client.Client) (map[string]bool, error) {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("k8up.io/v1")
	list.SetKind("BackupList")
	if err := c.List(ctx, list, client.InNamespace("overhead-k8up")); err != nil {
		return nil, err
	}
	runs := map[string]bool{}
	for _, o := range list.Items {
		done, failed, err := completed(&o)
		if err != nil {
			return nil, err
		}
		if failed != "" {
			return nil, fmt.Errorf("Backup %s failed: %s", o.GetName(), failed)
		}
		runs[o.GetName()] = done
	}
	return runs, nil
}

// completed reads the condition Completed of a Backup.
func completed(o *unstructured.Unstructured) (done bool, failed string, err error) {
	conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return false, "", err
	}
	for _, raw := range conditions {
		condition, ok := raw.(map[string]any)
		if !ok || condition["type"] != "Completed" {
			continue
		}
		if condition["reason"] == "Failed" {
			return false, fmt.Sprint(condition["message"]), nil
		}
		return condition["reason"] == "Succeeded", "", nil
	}
	return false, "", nil
}
