package build_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
)

// replace changes one occurrence and fails if there is none.
func replace(t testing.TB, text, old, new string) string {
	t.Helper()
	NewWithT(t).Expect(text).To(ContainSubstring(old))
	return strings.Replace(text, old, new, 1)
}

func TestBadInput(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i < 'k'; i++ {
		previous := "*" + string(i-1)
		bomb += string(i) + ": &" + string(i) + " [" + strings.Repeat(previous+", ", 9) + previous + "]\n"
	}
	utf16 := "\xff\xfe"
	for _, c := range storage("s") {
		utf16 += string([]byte{byte(c), 0})
	}
	c := configuration("uploads")
	batch := `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata:
  name: shop
spec:
  backends:
  - name: main
    storageRef: {name: local}
  targets:
  - {name: web, appRef: {kind: PersistentVolumeClaim, name: web}}
  - {name: web, appRef: {kind: PersistentVolumeClaim, name: web2}}
  sessions:
  - name: nightly
    targets:
    - name: web
      addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: web, backend: main, directory: /web, encryptionSecret: {name: enc}}]
`
	laughs := files{"l0/kustomization.yaml": "resources: [s.yaml]\n", "l0/s.yaml": storage("s")}
	for i := 1; i <= 40; i++ {
		laughs[fmt.Sprintf("l%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../l%da, ../l%db]\n", i, i)
		for _, side := range []string{"a", "b"} {
			laughs[fmt.Sprintf("l%d%s/kustomization.yaml", i,
				side)] = fmt.Sprintf("namePrefix: %s-\nresources: [../l%d]\n",
				side, i-1)
		}
	}
	cases := map[string]struct {
		files    files
		path     string
		opts     *build.Options
		file     string
		document int
		line     int
		field    string
		reason   string
		says     string
	}{
		"broken YAML": {
			files: files{"a.yaml": storage("s") + "  broken: [\n"}, file: "a.yaml", document: 1,
			line: 10, says: "not valid YAML",
		},
		"broken second document": {
			files: files{"a.yaml": storage("s") + "---\na: b: c\n"}, file: "a.yaml", document: 2,
			line: 11, says: "not valid YAML",
		},
		"tab": {
			files: files{"a.yaml": storage("s") + "---\na:\n\tb: c\n"}, file: "a.yaml", document: 2,
			line: 12, says: "file is not valid YAML: the line begins with a tab: indent with spaces",
		},
		"unknown field": {
			files: files{"a.yaml": replace(t, c, "scheduler:", "scheduel:")}, file: "a.yaml",
			document: 1, line: 12, field: "spec.sessions[0].scheduel", says: "unknown field",
		},
		"field of KubeStash": {
			files:    files{"a.yaml": replace(t, storage("s"), "local:\n", "local:\n      iscsi: {iqn: x}\n")},
			file:     "a.yaml",
			document: 1, line: 9, field: "spec.storage.local.iscsi",
			says: "is a field of KubeStash that Cairn does not have: create a PersistentVolume",
		},
		"unknown field of metadata": {
			files:    files{"a.yaml": replace(t, c, "  name: uploads", "  name: uploads\n  label: {a: b}")},
			file:     "a.yaml",
			document: 1, line: 5, field: "metadata.label", says: "unknown field",
		},
		"wrong type": {
			files: files{"a.yaml": replace(t, c, "\"0 2 * * *\"", "5")}, file: "a.yaml",
			document: 1, line: 12, field: "spec.sessions[0].scheduler.schedule",
			says: "is an integer, must be a string: put it in quotes",
		},
		"nothing in place of a list": {
			files: files{"a.yaml": c[:strings.Index(c, "sessions:")] + "sessions:\n"}, file: "a.yaml",
			document: 1, line: 10, field: "spec.sessions", says: "is empty, must be a list",
		},
		"target without its apiGroup": {
			files: files{"a.yaml": replace(t, c, "kind: PersistentVolumeClaim", "kind: Deployment")}, file: "a.yaml",
			document: 1, line: 6, field: "spec.target",
			says: `kind "Deployment" without apiGroup is no target: the target must be`,
		},
		"directory that is the root": {
			files: files{"a.yaml": replace(t, c, "directory: /uploads", "directory: /")}, file: "a.yaml",
			document: 1, line: 17, field: "spec.sessions[0].repositories[0].directory",
			says: "is not a directory below the root: write a path such as /shop/web, without ..",
		},
		"duration in words": {
			files:    files{"a.yaml": replace(t, c, "scheduler:", "backupTimeout: half an hour\n    scheduler:")},
			file:     "a.yaml",
			document: 1, line: 12, field: "spec.sessions[0].backupTimeout",
			says: "is not a duration: write numbers with the units ms, s, m and h, for example 90s or 1h30m",
		},
		"duration without a unit": {
			files:    files{"a.yaml": replace(t, c, "scheduler:", "backupTimeout: 30\n    scheduler:")},
			file:     "a.yaml",
			document: 1, line: 12, field: "spec.sessions[0].backupTimeout",
			says: "is not a duration: write numbers with the units ms, s, m and h, for example 90s or 1h30m",
		},
		"wrong type in an object that a patch renames": {
			files: files{
				"kustomization.yaml": "resources: [a.yaml]\npatches:\n" +
					"- target: {kind: BackupConfiguration, name: uploads}\n  options: {allowNameChange: true}\n" +
					"  patch: |-\n    - {op: replace, path: /metadata/name, value: another}\n",
				"a.yaml": replace(t, c, "scheduler:", "backupTimeout: 30\n    scheduler:") + "---\n" + storage("local"),
			}, file: "a.yaml", field: "spec.sessions[0].backupTimeout",
			says: "is not a duration: write numbers with the units ms, s, m and h, for example 90s or 1h30m",
		},
		"wrong type that a patch adds": {
			files: files{
				"kustomization.yaml": "resources: [a.yaml]\npatches:\n" +
					"- target: {kind: BackupConfiguration, name: uploads}\n" +
					"  patch: |-\n    - {op: add, path: /spec/sessions/0/backupTimeout, value: 30}\n",
				"a.yaml": c + "---\n" + storage("local"),
			},
			file: "a.yaml", document: 1, line: 11, field: "spec.sessions[0].backupTimeout",
			says: "is not a duration: write numbers with the units ms, s, m and h, for example 90s or 1h30m",
		},
		"wrong type that a patch puts in place of a right value": {
			files: files{
				"kustomization.yaml": "resources: [a.yaml]\npatches:\n" +
					"- target: {kind: BackupConfiguration, name: uploads}\n" +
					"  patch: |-\n    - {op: replace, path: /spec/sessions/0/backupTimeout, value: 30}\n",
				"a.yaml": replace(t, c, "scheduler:", "backupTimeout: 30m\n    scheduler:") +
					"---\n" + storage("local"),
			},
			file: "a.yaml", document: 1, line: 12, field: "spec.sessions[0].backupTimeout",
			says: "is not a duration: write numbers with the units ms, s, m and h, for example 90s or 1h30m",
		},
		"period in words": {
			files: files{"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: " +
				"RetentionPolicy\nmetadata: {name: x}\nspec: {maxRetentionPeriod: 1 month}\n"}, file: "a.yaml",
			document: 1, line: 4,
			field: "spec.maxRetentionPeriod",
			says:  "is not a period: write whole numbers with the units y, mo, w, d, h and m",
		},
		"nothing in a string": {
			files: files{
				"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Function\nmetadata: {name: x}\nspec: {image: " +
					"\"\"}\n",
			},
			opts: &build.Options{Namespace: "shop"}, file: "a.yaml", document: 1, line: 4, field: "spec.image",
			says: "is empty",
		},
		"Addon without an account": {
			files: files{
				"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Addon\nmetadata: {name: x}\nspec: {}\n",
			},
			file: "a.yaml", document: 1, line: 2, field: "kind", says: "an Addon is applied only by a PolicySync",
		},
		"missing required field": {
			files: files{"a.yaml": replace(t, c, "schedule: ", "timeZone: ")}, file: "a.yaml",
			document: 1, line: 12, field: "spec.sessions[0].scheduler.schedule", says: "is missing",
		},
		"value that is not allowed": {
			files:    files{"a.yaml": replace(t, c, "\"0 2 * * *\"", "\"0 2 * * *\", concurrencyPolicy: Maybe")},
			file:     "a.yaml",
			document: 1, line: 12, field: "spec.sessions[0].scheduler.concurrencyPolicy",
			says: `"Maybe" is not allowed`,
		},
		"rule of the schema": {
			files: files{"a.yaml": replace(t, storage("s"), "provider: local", "provider: s3")},
			file:  "a.yaml", document: 1, line: 6, field: "spec.storage", says: "provider s3 needs spec.storage.s3",
		},
		"duplicate key": {
			files: files{"a.yaml": replace(t, c, "spec:\n", "spec:\n  target: {name: x}\n")},
			file:  "a.yaml", document: 1, line: 7, field: "spec.target", says: "first at line 6",
		},
		"unknown kind": {
			files: files{"a.yaml": replace(t, c, "kind: BackupConfiguration", "kind: BackupConfig")}, file: "a.yaml",
			document: 1, line: 2, field: "kind", says: "there is no kind BackupConfig",
		},
		"unknown version": {
			files: files{"a.yaml": replace(t, c, "v1alpha1", "v1")}, file: "a.yaml", document: 1,
			line: 1, field: "apiVersion", says: "there is no version v1",
		},
		"kind that is not policy": {
			files: files{"a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"},
			file:  "a.yaml", document: 1, line: 2, field: "kind", says: "is not policy",
		},
		"kind that needs an account": {
			files: files{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"},
			file:  "a.yaml", document: 1, line: 2, field: "kind", says: "spec.serviceAccountName",
		},
		"BackupSession": {
			files: files{"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupSession\nmetadata: {name: x}\n"},
			file:  "a.yaml", document: 1, line: 2, field: "kind", says: "must not come from Git",
		},
		"other namespace": {
			files: files{"a.yaml": replace(t, c, "  name: uploads", "  name: uploads\n  namespace: kube-system")},
			file:  "a.yaml", document: 1, line: 5, field: "metadata.namespace",
			says: "applies only to its own namespace",
		},
		"privilege in an annotation": {
			files: files{"a.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n  annotations:\n    " +
				"backup.cairn.dev/privileged-movers: \"true\"\n"}, opts: &build.Options{Namespace: "shop"},
			file: "a.yaml", document: 1, line: 6, field: "metadata.annotations[backup.cairn.dev/privileged-movers]",
			says: "never by policy",
		},
		"the note of a departure": {
			files: files{"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata:\n  name: x\n" +
				"  annotations:\n    backup.cairn.dev/departure: WipeOut\n"},
			file: "a.yaml", document: 1, line: 6, field: "metadata.annotations[backup.cairn.dev/departure]",
			says: "is set by Cairn",
		},
		"the work of a sidecar": {
			files: files{"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: RestoreSession\nmetadata:\n" +
				"  name: x\n  annotations:\n    backup.cairn.dev/sidecar-task: \"{}\"\n"},
			file: "a.yaml", document: 1, line: 6, field: "metadata.annotations[backup.cairn.dev/sidecar-task]",
			says: "is set by Cairn",
		},
		"a label of Cairn": {
			files: files{"a.yaml": replace(t, c, "  name: uploads",
				"  name: uploads\n  labels:\n    backup.cairn.dev/batch: shop")},
			file: "a.yaml", document: 1, line: 6, field: "metadata.labels[backup.cairn.dev/batch]",
			says: `"shop" is set by Cairn: remove this line`,
		},
		"a label that says who applies": {
			files: files{"a.yaml": replace(t, c, "  name: uploads",
				"  name: uploads\n  labels:\n    policysync.backup.cairn.dev/name: other")},
			file: "a.yaml", document: 1, line: 6, field: "metadata.labels[policysync.backup.cairn.dev/name]",
			says: `"other" is set by Cairn: remove this line`,
		},
		"an annotation of another kind": {
			files: files{"a.yaml": replace(t, c, "  name: uploads",
				"  name: uploads\n  annotations:\n    backup.cairn.dev/restore-to: shop")},
			file: "a.yaml", document: 1, line: 6, field: "metadata.annotations[backup.cairn.dev/restore-to]",
			says: `"shop" has no meaning on a BackupConfiguration, only on Repository: remove this line`,
		},
		"an annotation that nobody knows": {
			files: files{"a.yaml": replace(t, c, "  name: uploads",
				"  name: uploads\n  annotations:\n    backup.cairn.dev/tirgger: nightly")},
			file: "a.yaml", document: 1, line: 6, field: "metadata.annotations[backup.cairn.dev/tirgger]",
			says: `"nightly" is set by Cairn: remove this line`,
		},
		"a name that the server makes": {
			files: files{"a.yaml": replace(t, c, "  name: uploads", "  name: uploads\n  generateName: uploads-")},
			file:  "a.yaml", document: 1, line: 5, field: "metadata.generateName", says: "keep the name",
		},
		"unknown field of a Secret": {
			files: files{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringDate: {a: b}\n"},
			opts:  &build.Options{Namespace: "shop"}, file: "a.yaml", document: 1, line: 4, field: "stringDate",
			says: "unknown field",
		},
		"duplicate object": {
			files: files{"a.yaml": storage("s"), "b/c.yml": storage("t") + "---\n" + storage("s")}, file: "b/c.yml",
			document: 2,
			line:     14, field: "metadata.name", says: "is defined twice, first in a.yaml:1 (document 1)",
		},
		"duplicate object, kustomized": {
			files: files{
				"kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
				"a.yaml":             storage("s"), "b.yaml": storage("s"),
			}, file: "b.yaml", document: 1, line: 4, field: "metadata.name",
			says: "is defined twice, first in a.yaml:1",
		},
		"not an object": {
			files: files{"a.yaml": "- a\n- b\n"}, file: "a.yaml", document: 1, line: 1,
			says: "not an object",
		},
		"no kind": {
			files: files{"a.yaml": "apiVersion: v1\nmetadata: {name: x}\n"}, file: "a.yaml",
			document: 1, line: 1, field: "kind", says: "is missing",
		},
		"no name": {
			files: files{"a.yaml": replace(t, storage("s"), "name: s", "generateName: s-")},
			file:  "a.yaml", document: 1, line: 3, field: "metadata.name", says: "give the object a name",
		},
		"bad name": {
			files: files{"a.yaml": storage("Upper_case")}, file: "a.yaml", document: 1, line: 4,
			field: "metadata.name", says: "lowercase",
		},
		"missing path": {
			files: files{"a.yaml": storage("s")}, path: "./nowhere", file: "nowhere",
			reason: v1alpha1.ReasonInvalidPath, says: "does not exist",
		},
		"path with ..": {
			files: files{"a.yaml": storage("s")}, path: "./a/../../b", file: "./a/../../b",
			reason: v1alpha1.ReasonInvalidPath, says: `contains ".."`,
		},
		"empty directory": {
			files: files{"policy/README.md": "x", "policy/.hidden/a.yaml": storage("s")},
			path:  "policy", file: "policy", says: "holds no object",
		},
		"only empty documents": {files: files{"a.yaml": "---\n# nothing\n---\n"}, file: ".", says: "holds no object"},
		"symlink out of the checkout": {
			files: files{"a.yaml": "-> ../../etc/passwd"}, file: "a.yaml",
			says: "leads out of the repository",
		},
		"absolute symlink": {
			files: files{"a.yaml": "-> /etc/passwd"}, file: "a.yaml",
			says: "leads out of the repository",
		},
		"symlinked directory": {files: files{"b/a.yaml": storage("s"), "c": "-> b"}, file: "c", says: "not followed"},
		"dangling symlink":    {files: files{"a.yaml": "-> nowhere"}, file: "a.yaml", says: "does not exist"},
		"remote base": {
			files: files{
				"kustomization.yaml": "resources:\n- a.yaml\n- github.com/org/repo//base?ref=main\n",
				"a.yaml":             storage("s"),
			}, file: "kustomization.yaml", document: 1, line: 3, field: "resources",
			says: "remote bases and HTTP resources are not fetched",
		},
		"remote base in another base": {
			files: files{
				"kustomization.yaml":      "resources: [base]\n",
				"base/kustomization.yaml": "resources: [\"git@host:org/repo\"]\n",
			}, file: "base/kustomization.yaml", document: 1,
			line: 1, field: "resources", says: "are not fetched",
		},
		"remote base by an odd key": {
			files: files{"kustomization.yaml": "RESOURCES: [\"https://host/x.yaml\"]\n"},
			file:  "kustomization.yaml", document: 1, line: 1, field: "resources", says: "are not fetched",
		},
		"HTTP resource": {
			files: files{"kustomization.yaml": "resources:\n- https://user:secret@host/x.yaml\n"},
			file:  "kustomization.yaml", document: 1, line: 2, field: "resources", says: `"https://...@host/x.yaml"`,
		},
		"HTTP patch": {
			files: files{
				"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: http://host/p.yaml\n",
				"a.yaml":             storage("s"),
			}, file: "kustomization.yaml", document: 1, line: 3, field: "patches",
			says: "are not fetched",
		},
		"HTTP file of a generator": {
			files: files{"kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [\"k=https://host/f\"]\n"},
			file:  "kustomization.yaml", document: 1, field: "configMapGenerator", says: "are not fetched",
		},
		"base out of the checkout": {
			files: files{"p/kustomization.yaml": "resources:\n- ../../other\n"}, path: "p",
			file: "p/kustomization.yaml", document: 1, line: 2, field: "resources", says: "leads out of the repository",
		},
		"base behind a symlink out": {
			files: files{"kustomization.yaml": "resources: [base]\n", "base": "-> ../../.."},
			file:  "kustomization.yaml", document: 1, line: 1, field: "resources", says: "leads out of the repository",
		},
		"missing resource": {
			files: files{"kustomization.yaml": "resources:\n- a.yaml\n- b.yaml\n", "a.yaml": storage("s")},
			file:  "kustomization.yaml", document: 1, line: 3, field: "resources",
			says: `"b.yaml": file does not exist`,
		},
		"Helm chart": {
			files: files{"kustomization.yaml": "helmCharts:\n- name: x\n  repo: https://host\n"},
			file:  "kustomization.yaml", document: 1, line: 1, field: "helmCharts", says: "not supported",
		},
		"exec plug-in": {
			files: files{
				"kustomization.yaml": "generators: [g.yaml]\n",
				"g.yaml": "apiVersion: x/v1\nkind: X\nmetadata:\n  name: x\n  annotations:\n" +
					"    config.kubernetes.io/function: \"exec: {path: /bin/sh}\"\n",
			},
			file: "kustomization.yaml", document: 1, line: 1, field: "generators", says: "not supported",
		},
		"kustomize fails": {
			files: files{"kustomization.yaml": "resources: [a.yaml]\npatches:\n- target: {kind: " +
				"BackupStorage}\n  patch: |-\n    - op: remove\n      path: /spec/nothing\n", "a.yaml": storage("s")},
			file: "kustomization.yaml", says: "kustomize can't build this",
		},
		"unknown field behind a base": {
			files: files{
				"kustomization.yaml":      "namePrefix: eu-\nresources: [base]\n",
				"base/kustomization.yaml": "resources: [x.yaml]\n", "base/x.yaml": storage("t") + "---\n" +
					replace(t, c, "scheduler:", "scheduel:"),
			},
			file: "base/x.yaml", document: 2, line: 22, field: "spec.sessions[0].scheduel", says: "unknown field",
		},
		"alias bomb": {files: files{"a.yaml": bomb}, file: "a.yaml", document: 1, says: "aliases"},
		"alias bomb in a base": {
			files: files{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": bomb},
			file:  "a.yaml", document: 1, says: "aliases",
		},
		"alias bomb in a patch": {
			files: files{"kustomization.yaml": "resources: [b.yaml]\npatches:\n- patch: |-\n" +
				indent(bomb), "b.yaml": storage("s")}, file: "kustomization.yaml", document: 1, line: 2,
			field: "patches",
			says:  "aliases",
		},
		"alias of itself": {
			files: files{"a.yaml": "a: &a [*a]\n"}, file: "a.yaml", document: 1, line: 1,
			says: "refers to itself",
		},
		"file of 11 MiB": {
			files: files{"a.yaml": "#" + strings.Repeat("x", 11<<20)}, file: "a.yaml",
			says: "larger than 10485760 bytes",
		},
		"too many values": {
			files: files{"a.yaml": strings.Repeat("a: b\n", 300_000)}, file: "a.yaml",
			says: "too many values",
		},
		"nested too deep": {
			files: files{"a.yaml": strings.Repeat("[", 100) + strings.Repeat("]", 100)},
			file:  "a.yaml", document: 1, line: 1, says: "nested more than 64 levels",
		},
		"binary file": {
			files: files{"a.yaml": "kind: x\n\x7fELF\x00\x01\x02\xfe"}, file: "a.yaml", line: 2,
			says: "is binary",
		},
		"UTF-16 file":             {files: files{"a.yaml": utf16}, file: "a.yaml", line: 1, says: "is UTF-16"},
		"UTF-16 file without BOM": {files: files{"a.yaml": utf16[2:]}, file: "a.yaml", line: 1, says: "is UTF-16"},
		"merge conflict": {
			files: files{"a.yaml": storage("s") + "<<<<<<< HEAD\n  a: b\n=======\n  a: c\n>>>>>>> main\n"},
			file:  "a.yaml",
			line:  10, says: "merge conflict",
		},
		"KubeStash apiVersion": {
			files: files{"a.yaml": replace(t, c, "backup.cairn.dev", "core.kubestash.com")},
			file:  "a.yaml", document: 1, line: 1, field: "apiVersion",
			says: "of KubeStash: set it to backup.cairn.dev/v1alpha1 and check the fields of this BackupConfiguration",
		},
		"driver of KubeStash": {
			files: files{"a.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Addon\nmetadata: " +
				"{name: mine}\nspec:\n  backupTasks:\n  - name: t\n    function: f\n    driver: Restic\n"},
			opts: &build.Options{Namespace: "shop"}, file: "a.yaml", document: 1, line: 8,
			field: "spec.backupTasks[0].driver",
			says:  "Cairn does not store data with restic: set driver: Kopia.",
		},
		"KubeStash storage": {
			files:    files{"a.yaml": replace(t, storage("s"), "backup.cairn.dev", "storage.kubestash.com")},
			file:     "a.yaml",
			document: 1, line: 1, field: "apiVersion", says: "of this BackupStorage",
		},
		"Stash apiVersion": {
			files:    files{"a.yaml": replace(t, c, "backup.cairn.dev/v1alpha1", "stash.appscode.com/v1beta1")},
			file:     "a.yaml",
			document: 1, line: 1, field: "apiVersion", says: "of Stash",
		},
		"Stash kind we lack": {
			files: files{"a.yaml": "apiVersion: stash.appscode.com/v1alpha1\nkind: Recovery\nmetadata: {name: x}\n"},
			file:  "a.yaml", document: 1, line: 1, field: "apiVersion", says: "Cairn has no kind Recovery",
		},
		"cron that does not parse": {files: files{
			"a.yaml": replace(t, c, "0 2 * * *", "0 25 * * *"),
			"s.yaml": storage("local"),
		}, file: "a.yaml", document: 1, line: 12, field: "spec.sessions[0].scheduler.schedule"},
		"cron that never fires": {files: files{
			"a.yaml": replace(t, c, "0 2 * * *", "0 0 30 2 *"),
			"s.yaml": storage("local"),
		}, file: "a.yaml", document: 1, line: 12, field: "spec.sessions[0].scheduler.schedule"},
		"one directory for two": {
			files: files{
				"a.yaml": c, "b.yaml": replace(t, configuration("other"), "directory: /other", "directory: uploads/"),
				"s.yaml": storage("local"),
			}, file: "b.yaml", document: 1, line: 17,
			field: "spec.sessions[0].repositories[0].directory",
		},
		"unknown backend": {
			files: files{"a.yaml": replace(t, c, "backend: main", "backend: nope")}, file: "a.yaml",
			document: 1, line: 16, field: "spec.sessions[0].repositories[0].backend",
			says: `spec.backends has no backend "nope": it has main`,
		},
		"unknown backend beside one without a name": {
			files: files{"a.yaml": replace(t, replace(t, c, "backend: main", "backend: nope"),
				"  - name: main\n", "  - storageRef: {name: other}\n  - name: main\n")}, file: "a.yaml",
			document: 1, line: 17, field: "spec.sessions[0].repositories[0].backend",
			says: `spec.backends has no backend "nope": it has main`,
		},
		"unknown task": {
			files: files{
				"a.yaml": replace(t, c, "logical-backup", "nope"), "s.yaml": storage("local"),
				"z.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Addon\nmetadata: {name: pvc-addon}\nspec: " +
					"{backupTasks: [{name: logical-backup, function: f, driver: Kopia, executor: Job}]}\n",
			}, opts: &build.Options{Namespace: "shop"},
			file: "a.yaml", document: 1, line: 13, field: "spec.sessions[0].addon.tasks[0].name",
			says: `has no backup task "nope"`,
		},
		"unknown backend of a batch": {
			files: files{
				"a.yaml": replace(
					t,
					replace(t, replace(t, replace(t, batch, "backend: main", "backend: nope"),
						"  - {name: web, appRef: {kind: PersistentVolumeClaim, name: web2}}\n", ""), "    targets:",
						"    scheduler: {schedule: \"0 2 * * *\"}\n    targets:"), "name: nightly", "name: hourly"),
				"s.yaml": storage("local"),
			}, file: "a.yaml", document: 1, line: 17,
			field: "spec.sessions[0].targets[0].repositories[0].backend",
			says:  `spec.backends has no backend "nope": it has main`,
		},
		"kustomization below a plain one": {
			files: files{
				"a.yaml": storage("a"), "b/kustomization.yml": "resources: [s.yaml]\n", "b/s.yaml": storage("s"),
			},
			file: "b/kustomization.yml", says: "is a kustomization below a directory that has none",
		},
		"owner reference": {
			files: files{"a.yaml": replace(t, storage("s"), "  name: s",
				"  name: s\n  ownerReferences: [{apiVersion: v1, kind: Pod, name: x, uid: a, controller: true}]")},
			file:     "a.yaml",
			document: 1, line: 5, field: "metadata.ownerReferences",
			says: "would delete the object together with another one",
		},
		"finalizer": {
			files: files{
				"a.yaml": replace(t, storage("s"), "  name: s", "  name: s\n  finalizers: [backup.cairn.dev/record]"),
			},
			file: "a.yaml", document: 1, line: 5, field: "metadata.finalizers",
			says: "policy would prevent their removal",
		},
		"duplicate key of a patch": {
			files: files{
				"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: p.yaml\n", "a.yaml": storage("s"),
				"p.yaml": storage("s") + "spec: {}\n",
			}, file: "p.yaml", document: 1, line: 10, field: "spec",
			says: "key is defined twice, first at line 5",
		},
		"duplicate key of patch and file": {
			files: files{
				"kustomization.yaml": "components: [c]\nresources: [a.yaml]\n",
				"c/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: " +
					"[{path: ../a.yaml}]\n", "a.yaml": storage("s") + "spec: {}\n",
			}, file: "a.yaml", document: 1, line: 10, field: "spec",
			says: "key is defined twice",
		},
		"bases that double with every level": {
			files: laughs, path: "l40", file: "l40/kustomization.yaml",
			says: "counting each base as often as it is included",
		},
		"field of a long name": {
			files: files{"a.yaml": storage("s") + "  \"" + strings.Repeat("k", 1_000) + "\": 1\n"}, file: "a.yaml",
			document: 1,
			line:     10, field: "spec." + strings.Repeat("k", 492) + "…", says: "unknown field",
		},
		"batch with two targets of one name": {
			files: files{"a.yaml": batch, "s.yaml": storage("local")}, file: "a.yaml",
			document: 1, line: 11, field: "spec.targets[1]",
			says: `name "web" is defined twice, first at line 10: change or remove one`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			opts := confined
			if tc.opts != nil {
				opts = *tc.opts
			}
			found := findings(t, tc.files.write(t), tc.path, opts)
			f := found[0]
			for _, other := range found { // a typo in a required field is two mistakes
				if tc.field != "" && other.Field == tc.field && strings.Contains(other.Message, tc.says) {
					f = other
				}
			}
			g.Expect(f.Message).To(ContainSubstring(tc.says))
			g.Expect(f.File).To(Equal(tc.file))
			g.Expect(f.Document).To(Equal(tc.document))
			g.Expect(f.Field).To(Equal(tc.field))
			if tc.line > 0 {
				g.Expect(f.Line).To(Equal(tc.line))
			}
			if tc.reason != "" {
				g.Expect(f.Reason).To(Equal(tc.reason))
			}
			g.Expect(build.Format(f)).NotTo(ContainSubstring("secret"))
			g.Expect(build.Format(f)).NotTo(MatchRegexp(`\n`))
		})
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}
