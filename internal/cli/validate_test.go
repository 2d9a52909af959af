package cli_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
)

// tree writes files below a new directory that Git does not know, and returns it.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	for name, content := range files {
		g.Expect(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o750)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)).To(Succeed())
	}
	return dir
}

// example is a copy of the example in policies, which can change independently of this package.
func example(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "policy", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(raw)
}

const head = "apiVersion: backup.cairn.dev/v1alpha1\nkind: "

// namespaced puts a manifest into a namespace.
func namespaced(manifest, namespace string) string {
	return strings.Replace(manifest, "metadata:\n", "metadata:\n  namespace: "+namespace+"\n", 1)
}

// orders is the policy of a database with these parameters.
func orders(params string) string {
	return head + "BackupConfiguration\nmetadata:\n  name: orders\nspec:\n  target: {kind: Service, name: db}\n  " +
		"backends: [{name: main, storageRef: {name: s3}}]\n" +
		"  sessions:\n  - name: hourly\n    addon: {name: postgres-addon, tasks: [{name: logical-backup, params: " +
		"{secretName: db, " + params + "}}]}\n" +
		"    repositories: [{name: orders, backend: main, directory: /orders, encryptionSecret: {name: key}}]\n"
}

// A policy of VolumeSnapshots, the Addon that makes them, and kubectl's output about the classes of a cluster.
const (
	snapshots = head +
		"BackupConfiguration\nmetadata:\n  name: orders\nspec:\n  target: {kind: PersistentVolumeClaim, " +
		"name: orders}\n" +
		"  sessions:\n  - name: hourly\n    addon: {name: own, tasks: [{name: volume-snapshot, params: " +
		"{volumeSnapshotClassName: fast}}]}\n"
	ownAddon = head + "Addon\nmetadata:\n  name: own\nspec:\n  backupTasks:\n" +
		"  - {name: volume-snapshot, function: pvc-backup, driver: VolumeSnapshotter, parameters: [{name: " +
		"volumeSnapshotClassName}]}\n"
	snapshotClasses = "apiVersion: v1\nkind: List\nitems:\n" +
		"- {apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: fast}, driver: " +
		"disk.example.com, deletionPolicy: Delete}\n"
)

// smallest is a policy that leaves out its storage.
const smallest = head + "BackupConfiguration\nmetadata:\n  name: db\n  namespace: shop\nspec:\n" +
	"  target: {kind: PersistentVolumeClaim, name: db}\n  sessions:\n  - name: nightly\n"

// defaultsOf returns a storage and a RetentionPolicy that want to be the defaults of all namespaces.
func defaultsOf(namespace string) string {
	return head + "BackupStorage\nmetadata: {name: s3, namespace: " + namespace + "}\nspec:\n" +
		"  default: true\n  storage: {provider: s3, s3: {bucket: backups, secretName: key}}\n" +
		"  encryptionSecret: {name: key}\n" +
		"  usagePolicy: {allowedNamespaces: {from: All}, directoryPrefix: '/{namespace}'}\n---\n" +
		head + "RetentionPolicy\nmetadata: {name: keep, namespace: " + namespace + "}\nspec:\n" +
		"  default: true\n  maxRetentionPeriod: 1y\n  usagePolicy: {allowedNamespaces: {from: All}}\n---\n"
}

func TestValidate(t *testing.T) {
	shop, storage := example(t, "shop.yaml"), example(t, "storage.yaml")
	broken := strings.Replace(strings.Replace(shop, "backupTimeout: 10m", "backupTimeuot: 10m", 1), `"* * * * *"`,
		"[]", 1)
	sync := head + "PolicySync\nmetadata:\n  name: shop\nspec:\n  url: https://git.example.com/p.git\n  prune: true\n"
	tests := map[string]struct {
		files map[string]string
		args  string
		code  int
	}{
		"valid directory": {
			map[string]string{"shop/shop.yaml": shop, "shop/storage.yaml": storage},
			"shop", 0,
		},
		"valid directory, verbose": {
			map[string]string{"shop/shop.yaml": shop, "shop/storage.yaml": storage},
			"shop --verbose", 0,
		},
		"a class that deletes the data": {
			map[string]string{"a/snaps.yaml": snapshots, "own.yaml": ownAddon, "classes.yaml": snapshotClasses},
			"a --known own.yaml --known classes.yaml", 0,
		},
		"a class that nobody knows": {
			map[string]string{"a/snaps.yaml": snapshots, "own.yaml": ownAddon},
			"a --known own.yaml", 0,
		},
		"valid single file in a namespace": {
			map[string]string{"shop/storage.yaml": storage},
			"shop/storage.yaml -n shop",
			0,
		},
		"mistakes of one file": {
			map[string]string{"shop/shop.yaml": broken, "shop/storage.yaml": storage},
			"shop", 1,
		},
		"mistakes seen from inside":    {map[string]string{"shop.yaml": broken}, ".", 1},
		"a path that is not there":     {nil, "nosuch", 1},
		"an empty directory":           {map[string]string{"shop/README.md": "no policy"}, "shop", 1},
		"a kind that needs an account": {map[string]string{"a/sync.yaml": sync, "a/shop.yaml": broken}, "a", 1},
		"a kind with an account":       {map[string]string{"a/sync.yaml": sync}, "a --service-account", 0},
		"one namespace, not said":      {map[string]string{"a/s.yaml": namespaced(storage, "shop")}, "a", 0},
		"another namespace than said":  {map[string]string{"a/s.yaml": namespaced(storage, "shop")}, "a -n blog", 1},
		"two namespaces": {
			map[string]string{"a/s.yaml": namespaced(storage, "shop") + "---\n" + namespaced(storage, "blog")}, "a", 1,
		},
		"two namespaces and a mistake": {
			map[string]string{"a/s.yaml": namespaced(broken, "shop") + "---\n" + namespaced(storage, "blog")}, "a", 1,
		},
		"two namespaces with an account": {
			map[string]string{"a/s.yaml": namespaced(storage, "shop") + "---\n" + namespaced(storage, "blog")},
			"a --service-account", 0,
		},
		"a default of administrators for others": {
			map[string]string{"a/p.yaml": defaultsOf("cairn-system") + smallest},
			"a --service-account", 0,
		},
		"a default of a tenant for others": {
			map[string]string{"a/p.yaml": defaultsOf("evil") + smallest}, "a --service-account", 0,
		},
		"a default of administrators who are named": {
			map[string]string{"a/p.yaml": defaultsOf("ops") + smallest},
			"a --service-account --admin-namespaces ops", 0,
		},
		"a directory outside of the prefix": {
			map[string]string{"a/p.yaml": defaultsOf("ops") + strings.Replace(smallest, "  sessions:",
				"  backends: [{name: main, storageRef: {name: s3, namespace: ops}}]\n  sessions:", 1) +
				"    repositories: [{name: db, backend: main, directory: /blog/db, encryptionSecret: {name: key}}]\n"},
			"a --service-account", 1,
		},
		"a reference from one path to other": {
			map[string]string{"a/shop.yaml": shop, "b/storage.yaml": storage}, "a b", 0,
		},
		"an object in two paths": {
			map[string]string{"a/storage.yaml": storage, "b/storage.yaml": storage},
			"a b",
			1,
		},
		"an object in two paths, the first renamed": {
			map[string]string{
				"a/storage.yaml": strings.Replace(storage, "name: s3", "name: s4", 1), "b/storage.yaml": storage,
				"a/kustomization.yaml": "resources: [storage.yaml]\npatches:\n- target: {kind: BackupStorage}\n" +
					"  options: {allowNameChange: true}\n" +
					"  patch: |-\n    - {op: replace, path: /metadata/name, value: s3}\n",
			}, "a b", 1,
		},
		"an object in two files of a path": {
			map[string]string{"a/more.yaml": storage, "a/storage.yaml": storage}, "a", 1,
		},
		"one directory in two paths": {map[string]string{
			"a/shop.yaml": shop, "a/storage.yaml": storage,
			"b/shop.yaml": strings.NewReplacer("name: shop\n", "name: shop2\n", "shop-web", "shop2-web", "shop-db",
				"shop2-db",
				"shop-uploads", "shop2-uploads", "/shop/db", "/shop2/db", "/shop/uploads", "/shop2/uploads",
				"directory: /shop/web",
				"directory: shop/web/").Replace(shop),
		}, "a b", 1},
		"an overlay of a base beside it in a working copy": {map[string]string{
			".git/HEAD": "ref: refs/heads/main\n", "base/storage.yaml": storage,
			"base/kustomization.yaml": "resources: [storage.yaml]\n",
			"prod/kustomization.yaml": "namespace: prod\nresources: [../base]\n",
		}, "prod", 0},
		"a part of no database": {
			map[string]string{"orders.yaml": orders("schemas: public")}, "orders.yaml -n shop", 1,
		},
		"a part of a database": {
			map[string]string{"orders.yaml": orders("schemas: public, databases: orders")},
			"orders.yaml -n shop", 0,
		},
		"what only a cluster tells": {
			map[string]string{
				"orders.yaml": strings.NewReplacer("kind: Service", "kind: Secret",
					"    addon: {name: postgres-addon, tasks: [{name: logical-backup, params: {secretName: db, }}]}\n",
					"").Replace(orders("")),
				"restore.yaml": head +
					"RestoreSession\nmetadata:\n  name: r\nspec:\n  target: {kind: Secret, name: db}\n  " +
					"dataSource: {snapshot: latest, repository: orders}\n",
			}, ". -n shop", 0,
		},
		"what only a cluster tells, verbose": {
			map[string]string{
				"orders.yaml": strings.NewReplacer("kind: Service", "kind: Secret",
					"    addon: {name: postgres-addon, tasks: [{name: logical-backup, params: {secretName: db, }}]}\n",
					"").Replace(orders("")),
				"restore.yaml": head +
					"RestoreSession\nmetadata:\n  name: r\nspec:\n  target: {kind: Secret, name: db}\n  " +
					"dataSource: {snapshot: latest, repository: orders}\n",
			}, ". -n shop -v", 0,
		},
		"one directory in two paths, verbose": {map[string]string{
			"a/shop.yaml": shop, "a/storage.yaml": storage,
			"b/shop.yaml": strings.NewReplacer("name: shop\n", "name: shop2\n", "shop-web", "shop2-web", "shop-db",
				"shop2-db",
				"shop-uploads", "shop2-uploads", "/shop/db", "/shop2/db", "/shop/uploads", "/shop2/uploads",
				"directory: /shop/web",
				"directory: shop/web/").Replace(shop),
		}, "a b --verbose", 1},
		"what nothing tells": {
			map[string]string{"restore.yaml": head + "RestoreBatch\nmetadata:\n  name: r\nspec:\n  " +
				"dataSource: {backupBatch: b, backupSession: latest}\n  targets: [{name: db, target: {kind: Service, " +
				"name: db}}]\n"},
			". -n shop", 1,
		},
		"an overlay that leads out": {map[string]string{
			"base/storage.yaml": storage, "base/kustomization.yaml": "resources: [storage.yaml]\n",
			"prod/kustomization.yaml": "resources: [../base]\n",
		}, "prod", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			t.Chdir(tree(t, tt.files))
			r := run(t, append([]string{"validate"}, strings.Fields(tt.args)...)...)
			g.Expect(r.err).To(BeEmpty())
			g.Expect(r.code).To(Equal(tt.code), r.out)
			t.Chdir(packageDir)
			golden(t, filepath.Join("validate", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".txt"), r.out)
		})
	}
}

var packageDir, _ = os.Getwd()

func TestKnownFileMustExist(t *testing.T) {
	g := NewWithT(t)
	r := run(t, "validate", filepath.Join("testdata", "policy"), "--known", "nosuch.yaml")
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.err).To(ContainSubstring("nosuch.yaml"))
}

// TestValidateIsOffline proves that validate does not even read a kubeconfig: otherwise it would contact the server
// in it.
func TestValidateIsOffline(t *testing.T) {
	g := NewWithT(t)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "nobody", http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(
		os.WriteFile(
			config, []byte("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: '"+
				server.URL+
				"'}}]\ncontexts: [{name: c, context: {cluster: c, namespace: elsewhere}}]\n"), 0o600)).To(Succeed())
	t.Setenv("KUBECONFIG", config)
	r := run(t, "validate", filepath.Join("testdata", "policy"))
	g.Expect(r.code).To(Equal(0), r.out)
	g.Expect(r.out).NotTo(ContainSubstring("elsewhere"))
	g.Expect(asked.Load()).To(BeZero())
	run(t, "get", "policies", "--request-timeout", "5s")
	g.Expect(asked.Load()).NotTo(BeZero(), "a command that needs the cluster asks it")
}

// Nothing but a cluster would find out otherwise, in the middle of an installation.
func TestTheCatalogIsValid(t *testing.T) {
	t.Parallel()
	got := run(t, "validate", "--service-account", filepath.Join("..", "..", "policies", "catalog"))
	NewWithT(t).Expect(got.code).To(BeZero(), "%s%s", got.out, got.err)
}
