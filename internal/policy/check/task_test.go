package check

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// ownAddon is a user's Addon whose last step is a Function of the catalog.
const ownAddon = `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: own-addon}
spec:
  backupTasks:
  - name: logical-backup
    parameters: [{name: exclude}]
    steps:
    - {name: export, params: [{name: file, value: "${targetName}.dump"}]}
    - {name: pvc-backup}
    volumeTemplate: [{name: cache, source: {emptyDir: {}}}]
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: export}
spec:
  image: app:v1
  args: ["--to=${file}", "--session=${backupSession}"]
`

// ownSet has a policy that uses ownAddon.
func ownSet() string {
	return strings.Replace(goodSet, "{name: pvc-addon, tasks: [{name: logical-backup, params:",
		"{name: own-addon, tasks: [{name: LogicalBackup, params:", 1) + ownAddon
}

func TestAnAddonOfAUserIsCheckedAsABuiltInOneIs(t *testing.T) {
	NewWithT(t).Expect(Objects(objectsOf(t, ownSet()), "default", cluster(t))).To(BeEmpty())
	const at = "spec.sessions[0].addon"
	for name, test := range map[string]struct {
		replace, by, field, reason, message string
	}{
		"an unknown variable": {
			"--to=${file}", "--to=${fil}", at + ".tasks[0]", v1alpha1.ReasonInvalidParameters,
			`Function "export": ${fil} is neither a built-in variable`,
		},
		"an unknown variable of a parameter": {
			"${targetName}.dump", "${name}.dump", at + ".tasks[0]", v1alpha1.ReasonInvalidParameters,
			`parameter "file" of step "export": ${name} is neither`,
		},
		"a variable of restores": {
			"${backupSession}", "${restoreSession}", at + ".tasks[0]", v1alpha1.ReasonInvalidParameters,
			"${restoreSession} has no value here",
		},
		"a variable that nobody can set": {
			`{exclude: "*.tmp"}`,
			`{exclude: "*.tmp"}, variables: [{name: moverImage, value: x}]`, at + ".tasks[0].variables[0].name",
			v1alpha1.ReasonInvalidParameters, "nobody can set it",
		},
		"a missing volume": {
			`{exclude: "*.tmp"}`,
			`{exclude: "*.tmp"}, addonVolumes: [{name: cash, source: {emptyDir: {}}}]`,
			at + ".tasks[0].addonVolumes[0].name",
			v1alpha1.ReasonInvalidTask, "it has ${INTERIM_VOLUME}, ${RESTIC_CACHE_VOLUME}, cache",
		},
		"a mount on a path of Cairn": {
			`{exclude: "*.tmp"}`,
			`{exclude: "*.tmp"}, targetVolumes: {volumes: [{name: x, emptyDir: {}}], volumeMounts: [{name: x, mountPath: /cairn/volumes/pvc}]}`,
			at + ".tasks[0].targetVolumes.volumeMounts[0].mountPath", v1alpha1.ReasonInvalidTask, "lies in /cairn",
		},
		"claims of a backup": {
			`{exclude: "*.tmp"}`,
			`{exclude: "*.tmp"}, targetVolumes: {volumeClaimTemplates: [{metadata: {name: x}, spec: {}}]}`,
			at + ".tasks[0].targetVolumes.volumeClaimTemplates", v1alpha1.ReasonInvalidTask, "only in a RestoreSession",
		},
		"a mount of nothing": {
			`{exclude: "*.tmp"}`,
			`{exclude: "*.tmp"}, targetVolumes: {volumeMounts: [{name: x, mountPath: /x}]}`,
			at + ".tasks[0].targetVolumes.volumeMounts[0].name", v1alpha1.ReasonInvalidTask, `no volume "x"`,
		},
		"a volume of Cairn's in the jobTemplate": {
			`{exclude: "*.tmp"}}]`,
			`{exclude: "*.tmp"}}], jobTemplate: {spec: {volumes: [{name: token, emptyDir: {}}]}}`,
			at + ".jobTemplate.spec.volumes[0].name", v1alpha1.ReasonInvalidTask, `the name "token"`,
		},
		"an environment of Cairn's": {
			`{exclude: "*.tmp"}}]`,
			`{exclude: "*.tmp"}}], jobTemplate: {spec: {env: [{name: TMPDIR, value: /x}]}}`,
			at + ".jobTemplate.spec.env[0].name", v1alpha1.ReasonInvalidParameters,
			"Cairn sets the environment variable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			set := ownSet()
			g.Expect(strings.Count(set, test.replace)).To(Equal(1), "what is replaced must be there once")
			findings := Objects(objectsOf(t, strings.Replace(set, test.replace, test.by, 1)), "default",
				cluster(t))
			g.Expect(findings).To(HaveLen(1), "%+v", findings)
			g.Expect(findings[0].Field).To(Equal(test.field))
			g.Expect(findings[0].Reason).To(Equal(test.reason))
			g.Expect(findings[0].Message).To(ContainSubstring(test.message))
		})
	}
}

// A value that the mover would refuse is refused before the mover runs.
func TestSwitchesOfTheMoverAreTrueOrFalse(t *testing.T) {
	for value, fails := range map[string]bool{"true": false, "false": false, "1": false, "yes": true, "": false} {
		g := NewWithT(t)
		set := strings.Replace(goodSet, `{exclude: "*.tmp"}`, `{enableCache: "`+value+`"}`, 1)
		findings := Objects(objectsOf(t, set), "default", cluster(t))
		if !fails {
			g.Expect(findings).To(BeEmpty(), value)
			continue
		}
		g.Expect(findings).To(HaveLen(1), value)
		g.Expect(findings[0].Field).To(Equal("spec.sessions[0].addon.tasks[0]"))
		g.Expect(findings[0].Message).To(ContainSubstring(`Function "pvc-backup": the parameter "enableCache" is "` +
			value + `" instead of true or false`))
	}
}

// How often files are read is refused before the mover runs, too.
func TestFullReadsHaveAnInterval(t *testing.T) {
	for params, message := range map[string]string{
		`fullReadEvery: 168h`:                       "",
		`fullReadEvery: 168h, ignoreInode: "true"`:  "",
		`fullReadEvery: "", ignoreInode: "false"`:   "",
		`fullReadEvery: weekly`:                     `"fullReadEvery": it is "weekly" instead of a duration`,
		`fullReadEvery: -1h`:                        `"fullReadEvery": it is "-1h" instead of a duration`,
		`fullReadEvery: 0s`:                         `"fullReadEvery": it is "0s" instead of a duration`,
		`ignoreInode: "true"`:                       `the parameter "fullReadEvery": files are compared without ctime`,
		`ignoreInode: "yes", fullReadEvery: "168h"`: `the parameter "ignoreInode" is "yes" instead of true or false`,
	} {
		g := NewWithT(t)
		set := strings.Replace(goodSet, `{exclude: "*.tmp"}`, `{`+params+`}`, 1)
		findings := Objects(objectsOf(t, set), "default", cluster(t))
		if message == "" {
			g.Expect(findings).To(BeEmpty(), params)
			continue
		}
		g.Expect(findings).To(HaveLen(1), params)
		g.Expect(findings[0].Field).To(Equal("spec.sessions[0].addon.tasks[0]"))
		g.Expect(findings[0].Message).To(ContainSubstring(message))
	}
}

// A step knows its Snapshot only if the session makes a single one.
func TestTheSnapshotOfAStepIsThatOfTheOnlyRepository(t *testing.T) {
	of := strings.NewReplacer("${backupSession}", "${snapshot}")
	second := strings.NewReplacer("{name: enc}}]\n---",
		"{name: enc}}, {name: second, backend: main, directory: /second, encryptionSecret: {name: enc}}]\n---")
	none := strings.NewReplacer("    repositories: [{name: uploads, backend: main, directory: /shop/uploads, "+
		"encryptionSecret: {name: enc}}]\n", "")
	for name, test := range map[string]struct {
		set   string
		fails bool
	}{
		"one repository":                     {of.Replace(ownSet()), false},
		"two repositories":                   {second.Replace(of.Replace(ownSet())), true},
		"two repositories, and no step asks": {second.Replace(ownSet()), false},
		"two repositories, and there is a default": {
			second.Replace(strings.Replace(ownSet(), "${backupSession}", "${snapshot:=all}", 1)), false,
		},
		"an inferred repository": {none.Replace(of.Replace(ownSet())), false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(test.set).NotTo(Equal(ownSet()), "something was replaced")
			findings := Objects(objectsOf(t, test.set), "default", cluster(t))
			if !test.fails {
				g.Expect(findings).To(BeEmpty())
				return
			}
			g.Expect(findings).To(HaveLen(1))
			g.Expect(findings[0].Field).To(Equal("spec.sessions[0].addon.tasks[0]"))
			g.Expect(findings[0].Message).To(ContainSubstring(`Function "export": ${snapshot} has no value here`))
		})
	}
}

func TestAnAddonOfAUserIsCheckedByItself(t *testing.T) {
	const task = "spec.backupTasks[0]"
	for name, test := range map[string]struct{ replace, by, field, message string }{
		"a step without a Function": {
			"{name: export, params", "{name: exports, params", task + ".steps[0].name", "there is no Function exports",
		},
		"a parameter that is fixed": {
			"[{name: exclude}]", "[{name: exclude}, {name: imageTag}]", task + ".parameters[1].name",
			"nobody can set it",
		},
		"a step's parameter": {
			"params: [{name: file", "params: [{name: moverImage}, {name: file", task + ".steps[0].params[0].name",
			"nobody can set it",
		},
		"a volume of Cairn's": {
			"{name: cache, source", "{name: component-0, source", task + ".volumeTemplate[0].name", "choose another",
		},
		"a mount of a volume elsewhere": {
			"    volumeTemplate:", "    volumeMounts: [{name: data, mountPath: /data}]\n    volumeTemplate:",
			task + ".volumeMounts[0].name", `no volume "data"`,
		},
		"a mount on a path of Cairn": {
			"    volumeTemplate:", "    volumeMounts: [{name: cache, mountPath: /tmp}]\n    volumeTemplate:",
			task + ".volumeMounts[0].mountPath", "lies in /tmp",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(strings.Count(ownAddon, test.replace)).To(Equal(1), "what is replaced must be there once")
			findings := Objects(objectsOf(t, strings.Replace(ownAddon, test.replace, test.by, 1)), "default",
				cluster(t))
			g.Expect(findings).To(HaveLen(1), "%+v", findings)
			g.Expect(findings[0].Object).To(Equal("Addon own-addon"))
			g.Expect(findings[0].Field).To(Equal(test.field))
			g.Expect(findings[0].Message).To(ContainSubstring(test.message))
		})
	}
}

func TestOlderNamesOfTasksStandForTheSameTask(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{
		BackupTasks:  []v1alpha1.Task{{Name: "logical-backup"}, {Name: "Own"}},
		RestoreTasks: []v1alpha1.Task{{Name: "volume-snapshot-restore"}},
	}}
	g.Expect(catalog.FindTask(addon, "LogicalBackup", false).Name).To(Equal("logical-backup"))
	g.Expect(catalog.FindTask(addon, "logical-backup", false).Name).To(Equal("logical-backup"))
	g.Expect(catalog.FindTask(addon, "VolumeSnapshotRestore", true).Name).To(Equal("volume-snapshot-restore"))
	g.Expect(catalog.FindTask(addon, "Own", false).Name).To(Equal("Own"))
	g.Expect(catalog.FindTask(addon, "own", false)).To(BeNil())
	g.Expect(catalog.FindTask(addon, "LogicalBackup", true)).To(BeNil())
}

// versioned is a user's Addon whose Functions take the image that fits the version of the database.
const versioned = `
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: own-restore}
spec:
  image: registry.example/own:${VERSION}
  availableVersions: ["13.2", "16.3"]
  args: [restore]
  stream:
    command: [psql]
    args: [{value: "--dbname=dbname=${value:=postgres}"}, {value: "${args:=}", words: true}]
    fileName: a.sql
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: own-backup}
spec:
  image: registry.example/own:${VERSION}
  availableVersions: ["13.2", "16.3"]
  args: [backup]
  stream: {command: [pg_dump], fileName: a.sql}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: own}
spec:
  backupTasks:
  - {name: dump, function: own-backup, driver: Kopia, executor: Job, parameters: [{name: secretName, usage: u}]}
  restoreTasks:
  - {name: back, function: own-restore, driver: Kopia, executor: Job, parameters: [{name: secretName}, {name: args}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: dbs, namespace: shop}
spec:
  target: {kind: Service, name: db}
  backends: [{name: main, storageRef: {name: s3, namespace: backup}}]
  sessions:
  - name: nightly
    scheduler: {schedule: "0 2 * * *"}
    addon: {name: own, tasks: [{name: dump, params: {secretName: db}}]}
    repositories: [{name: dbs, backend: main, directory: /dbs, encryptionSecret: {name: enc}}]
`

// Only the database tells its version. It is known when the run starts.
func TestAFunctionOfAUserCanNameTheVersionOfTheDatabase(t *testing.T) {
	for _, variable := range []string{"targetVersion", "DB_VERSION"} {
		findings := Objects(objectsOf(t, restoreByOwn(variable, "--quiet")), "default", cluster(t))
		NewWithT(t).Expect(findings).To(BeEmpty(), variable)
	}
}

// The dump can be of the database that the arguments name.
func TestTheDatabaseOfAnArgumentIsLookedAtWithTheDump(t *testing.T) {
	set := restoreByOwn("targetVersion", "--dbname=dbname=shop")
	NewWithT(t).Expect(Objects(objectsOf(t, set), "default", cluster(t))).To(BeEmpty())
}

// restoreByOwn returns a restore of a database by the Addon of versioned, whose images are those of a variable.
func restoreByOwn(variable, args string) string {
	restore := strings.Replace(restoreOf("  dataSource: {repository: web, snapshot: latest}\n  addon: {name: own, "+
		"tasks: [{name: back, params: {secretName: db, args: "+args+"}}]}\n"),
		"{kind: PersistentVolumeClaim, name: uploads}", "{kind: Service, name: db}", 1)
	return goodSet + restore + strings.ReplaceAll(versioned, "VERSION", variable)
}
