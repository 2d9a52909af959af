package check

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/policies"
)

// goodSet is the set that the tests break in one place each.
const goodSet = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {backup: "yes"}}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: s3, namespace: backup}
spec:
  storage: {provider: s3, s3: {bucket: backups, secretName: s3}}
  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {backup: "yes"}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: s3, namespace: backup}
---
apiVersion: v1
kind: Secret
metadata: {name: enc, namespace: shop}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: uploads, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: uploads, namespace: shop}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  backends: [{name: main, storageRef: {name: s3, namespace: backup}}]
  sessions:
  - name: nightly
    scheduler: {schedule: "0 2 * * *"}
    addon: {name: pvc-addon, tasks: [{name: logical-backup, params: {exclude: "*.tmp"}}]}
    repositories: [{name: uploads, backend: main, directory: /shop/uploads, encryptionSecret: {name: enc}}]
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: app, namespace: shop}
spec:
  backends: [{name: main, storageRef: {name: s3, namespace: backup}}]
  targets:
  - {name: web, appRef: {apiGroup: apps, kind: Deployment, name: web}}
  sessions:
  - name: hourly
    scheduler: {schedule: "17 * * * *"}
    targets:
    - name: web
      addon: {name: workload-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: web, backend: main, directory: /shop/web, encryptionSecret: {name: enc}}]
`

func objectsOf(t testing.TB, manifests string) []Object {
	t.Helper()
	var objects []Object
	for i, document := range strings.Split(manifests, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), u); err != nil {
			t.Fatalf("document %d: %v", i+1, err)
		}
		objects = append(objects, Object{
			Unstructured: u, File: "policy.yaml", Document: i + 1,
			LineOf: func(string) int { return 10 * (i + 1) },
		})
	}
	return objects
}

// shippedCatalog knows only the built-in Addons and Functions, like the command line.
func shippedCatalog(t testing.TB) Lookup {
	t.Helper()
	built := map[Reference]*unstructured.Unstructured{}
	for _, name := range []string{
		"functions.yaml", "pvc-addon.yaml", "workload-addon.yaml", "postgres-addon.yaml", "postgres-functions.yaml",
	} {
		content, err := policies.Catalog.ReadFile("catalog/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objectsOf(t, string(content)) {
			built[Reference{GroupKind: o.GroupVersionKind().GroupKind(), Name: o.GetName()}] = o.Unstructured
		}
	}
	return func(r Reference) (*unstructured.Unstructured, bool) { return built[r], built[r] != nil }
}

// cluster knows that everything that the catalog lacks does not exist.
func cluster(t testing.TB) Lookup {
	inner := shippedCatalog(t)
	return func(r Reference) (*unstructured.Unstructured, bool) {
		found, _ := inner(r)
		return found, true
	}
}
