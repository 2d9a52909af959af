package main

import (
	"io/fs"
	"maps"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/config"
)

const (
	addonInfo      = `{name: pvc-addon, tasks: [{name: logical-backup}]}`
	repositoryInfo = `{name: r, backend: main, directory: /r, encryptionSecret: {name: enc}}`
)

// accepted are specs that the API accepts.
var accepted = map[string]string{
	"PolicySync":          `{url: "https://git.example.com/policy.git", prune: true}`,
	"Ledger":              `{url: "https://git.example.com/policy.git", clusterName: one}`,
	"BackupStorage":       `{storage: {provider: s3, s3: {bucket: backups, secretName: s3}}}`,
	"Repository":          `{appRef: {kind: PersistentVolumeClaim, name: data}, storageRef: {name: s3}, path: /r, encryptionSecret: {name: enc}}`,
	"BackupConfiguration": `{target: {kind: PersistentVolumeClaim, name: data}, backends: [{name: main, storageRef: {name: s3}}], sessions: [{name: s, addon: ` + addonInfo + `, repositories: [` + repositoryInfo + `]}]}`,
	"BackupBatch":         `{targets: [{name: t, appRef: {kind: PersistentVolumeClaim, name: data}}], backends: [{name: main, storageRef: {name: s3}}], sessions: [{name: s, targets: [{name: t, addon: ` + addonInfo + `, repositories: [` + repositoryInfo + `]}]}]}`,
	"BackupSession":       `{invoker: {apiGroup: backup.cairn.dev, kind: BackupConfiguration, name: c}, session: s}`,
	"Snapshot":            `{snapshotID: "01", repository: r, session: s, backupSession: b, version: v1, appRef: {kind: PersistentVolumeClaim, name: data}}`,
	"HookTemplate":        `{action: {httpPost: {host: example.com, port: 80, body: x}}, executor: {type: Operator}}`,
	"RetentionPolicy":     `{maxRetentionPeriod: 30d, successfulSnapshots: {last: 3}}`,
	"RestoreBatch":        `{targets: [{name: web}], dataSource: {backupBatch: shop, backupSession: latest}}`,
	"RestoreSession":      `{target: {kind: PersistentVolumeClaim, name: data}, dataSource: {repository: r, snapshot: latest}}`,
}

const (
	oneTarget   = "a target has either an appRef, which names one object, or a selector, which finds objects"
	onlyTargets = "the target must be " + targets
	targets     = "a PersistentVolumeClaim, a Deployment, StatefulSet or DaemonSet of apiGroup apps, or a " +
		"database: a Service, a Secret of a type servicebinding.io/..., an AppBinding of apiGroup " +
		"appcatalog.appscode.com or a Cluster of apiGroup postgresql.cnpg.io. Instead of a Pod, ReplicaSet or Job, " +
		"name the workload or volume that it belongs to"
	noPassword  = "the url must not contain a password: put it into the Secret that spec.secretRef names"
	hookTimeout = "the timeout of a hook must be at least 1s and at most 24h"
	prefixRule  = "directoryPrefix must be a path such as /{namespace} or /tenants/{cluster}/{namespace}: each " +
		"element is {namespace}, {cluster}, or a name of letters, digits, dots, dashes and underscores"
	preAlways         = "a hook that runs before always runs: set executionPolicy only for hooks that run afterwards"
	oneValue          = "a variable has a value or a valueFrom, not both"
	functionOnly      = "executor.function and type Function need each other"
	oneSource         = "valueFrom must have exactly one of secretKeyRef and configMapKeyRef"
	snapshotsLieThere = "with driver VolumeSnapshotter leave out storageRef, path and encryptionSecret: " +
		"VolumeSnapshots stay in the storage system of their volume"
	noCopyVolume    = "copyVolume needs copyMethod Snapshot or Clone"
	noSnapshotClass = "copyVolume.volumeSnapshotClassName needs copyMethod Snapshot"
	needsKeys       = "an SSH url needs spec.secretRef with the keys identity and known_hosts"
)

// Wrong hooks, by the expected message.
var refusedHooks = map[string]string{
	hookTimeout: `{name: a, hookTemplate: {name: t}, timeout: 25h}`,
	preAlways:   `{name: a, hookTemplate: {name: t}, executionPolicy: OnFailure}`,
	oneValue:    `{name: a, hookTemplate: {name: t}, variables: [{name: v, value: x, valueFrom: {secretKeyRef: {name: s, key: k}}}]}`,
	oneVolume:   `{name: a, hookTemplate: {name: t}, volumes: [{name: v}]}`,
	oneSource:   `{name: a, hookTemplate: {name: t}, variables: [{name: v, valueFrom: {secretKeyRef: {name: s, key: k}, configMapKeyRef: {name: s, key: k}}}]}`,
}

func init() {
	for says, h := range refusedHooks {
		if says != oneVolume { // Hooks of targets have none.
			refused["BackupBatch"][batchSession(``, `, hooks: {preBackup: [`+h+`]}`)] = says
		}
		refused["BackupConfiguration"][`{sessions: [{name: s, hooks: {preBackup: [`+h+`]}, addon: `+addonInfo+
			`, repositories: [`+repositoryInfo+`]}]}`] = says
		refused["BackupBatch"][batchSession(`, hooks: {preBackup: [`+h+`]}`, ``)] = says
		refused["RestoreSession"][`{hooks: {preRestore: [`+h+`]}}`] = says
	}
}

// batchSession is a change of a batch's only session, and of what it does for its only target. Names and values of
// fields alternate.
func batchSession(session, target string) string {
	return `{sessions: [{name: s` + session + `, targets: [{name: t` + target + `, addon: ` + addonInfo +
		`, repositories: [` + repositoryInfo + `]}]}]}`
}

// refused are wrong changes of these specs, by kind, with the expected message.
var refused = map[string]map[string]string{
	"PolicySync": {
		`{url: "ssh://git@git.example.com/p"}`:                  needsKeys,
		`{url: "https://u:p@git.example.com/p"}`:                noPassword,
		`{ref: {branch: a, tag: b}}`:                            "set only one of branch, tag and commit",
		`{verify: {secretRef: {name: keys}, mode: Tag}}`:        "the modes Tag and TagAndHEAD of spec.verify need spec.ref.tag",
		`{interval: 999ms}`:                                     "the interval must be at least 1s",
		`{retryInterval: 1ms}`:                                  "the retry interval must be at least 1s",
		`{timeout: 0.5s}`:                                       "the timeout must be at least 1s",
		`{interval: 9999999999h} # no Go program could read it`: "spec.interval",
	},
	"Ledger": {
		`{selector: {matchExpressions: [{key: team, operator: Near}]}}`:        "the operator must be In, NotIn, Exists or DoesNotExist",
		`{namespaceSelector: {matchExpressions: [{key: team, operator: In}]}}`: "In and NotIn need values, Exists and DoesNotExist take none",
		`{namespaceSelector: {matchLabels: {"": shop}}}`:                       "a key has 1 to 317 characters",
		`{url: "ssh://git@git.example.com/p"}`:                                 needsKeys,
		`{url: "https://u:p@git.example.com/p"}`:                               noPassword,
		`{interval: 0s}`:                                                       "the interval must be at least 1s",
		`{batchWindow: 9s}`:                                                    "the batch window must be at least 10s: Git hosts limit pushes",
		`{path: /a}`:                                                           "the path must be relative and must not contain ..",
		`{path: a/../..}`:                                                      "the path must be relative and must not contain ..",
	},
	"BackupStorage": {
		`{storage: {provider: local}}`: "provider local needs spec.storage.local",
		`{storage: {s3: null}}`:        "provider s3 needs spec.storage.s3",
		`{storage: {provider: local, local: {persistentVolumeClaim: {claimName: c}}}}`: "spec.storage.s3 needs provider s3",
		`{storage: {local: {persistentVolumeClaim: {claimName: c}}}}`:                  "spec.storage.local needs provider local",
		`{storage: {local: {persistentVolumeClaim: {claimName: c}, subPath: a/..}}}`:   "the subPath must be relative and must not contain ..",
		`{storage: {s3: {prefix: a/../b}}}`:                                            "the prefix must not contain ..",
		`{storage: {s3: {endpoint: "https://id:key@s3.example.com"}}}`: "the endpoint must be a URL " +
			"with scheme, without path and without credentials, for example https://s3.example.com",
		`{storage: {s3: {endpoint: s3.example.com}}}`: "the endpoint must be a URL with scheme, without " +
			"path and without credentials, for example https://s3.example.com",
		`{usagePolicy: {allowedNamespaces: {from: Selector}}}`: "from: Selector needs a selector",
		`{usagePolicy: {directoryPrefix: "{namespace}"}}`:      prefixRule,
		`{usagePolicy: {directoryPrefix: "/{namespace}/"}}`:    prefixRule,
		`{usagePolicy: {directoryPrefix: "/a//{namespace}"}}`:  prefixRule,
		`{usagePolicy: {directoryPrefix: "/../{namespace}"}}`:  prefixRule,
		`{usagePolicy: {directoryPrefix: "/a-{namespace}"}}`:   prefixRule,
		`{usagePolicy: {directoryPrefix: "/{user}"}}`:          prefixRule,
		`{usagePolicy: {directoryPrefix: "/a/kopia"}}`: "directoryPrefix must not contain a name that is " +
			"reserved: kopia, snapshots, removed, repository, repository.yaml or metadata.yaml",
	},
	"HookTemplate": {
		`{action: null}`: "executors Pod and Operator need an action, and executor Function has none: its Function " +
			"is the action",
		`{action: {httpPost: null, exec: {command: [x]}}}`:                                      "a command runs in a pod: exec needs executor.type Pod",
		`{action: {httpPost: {host: null}}}`:                                                    "executor.type Operator needs the host: it has no pod to take the address from",
		`{action: {tcpSocket: {host: x, port: 1}}}`:                                             "an action must have exactly one of exec, httpGet, httpPost and tcpSocket",
		`{action: {httpPost: {form: [{key: k, values: [v]}]}}}`:                                 "a request has a body or a form, not both",
		`{executor: {pod: {selector: "a=b"}}}`:                                                  "executor.pod needs type Pod",
		`{executor: {function: {name: f}}}`:                                                     functionOnly,
		`{action: null, executor: {type: Function}}`:                                            functionOnly,
		`{action: null, executor: {type: Function, function: {name: f, volumes: [{name: v}]}}}`: oneVolume,
		`{usagePolicy: {allowedNamespaces: {from: Selector}}}`:                                  "from: Selector needs a selector",
	},
	"Repository": {
		`{wipeOut: false}`: "a Repository has no wipeOut: set deletionPolicy: WipeOut instead of " +
			"wipeOut: true, and nothing instead of wipeOut: false",
		`{usagePolicy: {}}`: "a Repository has no usagePolicy: set it in the BackupStorage",
		`{backend: {s3: {bucket: b}}}`: "a Repository has no backend: create a BackupStorage with this backend and " +
			"its Secret, name it in spec.storageRef, and put the prefix or subPath below it into spec.path",
		`{storageRef: null}`:          "spec.storageRef is required: it names a BackupStorage",
		`{path: null}`:                "spec.path is required: it is the directory below the storage's prefix",
		`{encryptionSecret: null}`:    "spec.encryptionSecret is required: it names the Secret with the password",
		`{path: a/../b}`:              "the path must not contain ..",
		`{driver: VolumeSnapshotter}`: snapshotsLieThere,
		`{driver: VolumeSnapshotter, storageRef: null, path: null}`:             snapshotsLieThere,
		`{driver: VolumeSnapshotter, storageRef: null, encryptionSecret: null}`: snapshotsLieThere,
		`{driver: VolumeSnapshotter, encryptionSecret: null, path: null}`:       snapshotsLieThere,
		`{path: /./}`: "the path must name a directory, not the storage's root",
	},
	"RetentionPolicy": {
		`{maxRetentionPeriod: null, successfulSnapshots: null}`: "a RetentionPolicy needs maxRetentionPeriod, " +
			"successfulSnapshots or both",
		`{maxRetentionPeriod: 0d}`:   "the period must be longer than zero",
		`{maxRetentionPeriod: "30"}`: "spec.maxRetentionPeriod",
		`{maxRetentionPeriod: -30d}`: "spec.maxRetentionPeriod",
		`{successfulSnapshots: {last: 0}}`: "successfulSnapshots needs a number above zero: " +
			"leave successfulSnapshots out to keep all",
		`{successfulSnapshots: {daily: -1}}`:                   "spec.successfulSnapshots.daily",
		`{usagePolicy: {allowedNamespaces: {from: Selector}}}`: "from: Selector needs a selector",
	},
	"BackupConfiguration": {
		`{target: {kind: Pod}}`:                        onlyTargets,
		`{target: {kind: Deployment}}`:                 onlyTargets,
		`{target: {kind: ReplicaSet, apiGroup: apps}}`: onlyTargets,
		`{target: {kind: Service, apiGroup: apps}}`:    onlyTargets,
		`{target: {kind: AppBinding}}`:                 onlyTargets,
		`{target: {kind: Cluster, apiGroup: x.io}}`:    onlyTargets,
		`{backends: [{name: other, storageRef: {name: s3}}]}`: "sessions[*].repositories[*].backend must be a name of " +
			"spec.backends",
		`{sessions: [{name: s, copyMethod: Clone, copyVolume: {volumeSnapshotClassName: c}, addon: ` + addonInfo +
			`, repositories: [` + repositoryInfo + `]}]}`: noSnapshotClass,
		`{sessions: [{name: s, copyMethod: Direct, copyVolume: {}, addon: ` + addonInfo + `, repositories: [` +
			repositoryInfo + `]}]}`: noCopyVolume,
		`{sessions: [{name: s, copyVolume: {}, addon: ` + addonInfo + `, repositories: [` + repositoryInfo +
			`]}]}`: noCopyVolume,
		`{sessions: [{name: s, backupTimeout: 0s, addon: ` + addonInfo + `, repositories: [` + repositoryInfo +
			`]}]}`: "the timeout must be at least 1s",
	},
	"BackupBatch": {
		`{targets: [{name: t, appRef: {kind: Pod, name: data}}]}`: onlyTargets,
		batchSession(`, backupTimeout: 0s`,
			``): "the timeout must be at least 1s",
		batchSession(
			``, `, copyMethod: Clone, copyVolume: {volumeSnapshotClassName: c}`): noSnapshotClass,
		batchSession(
			``, `, copyVolume: {storageClassName: c}`): noCopyVolume,
		batchSession(
			``, `, copyMethod: Rsync`): `supported values: "Direct", "Snapshot", "Clone"`,
		batchSession(
			``, `, copyMethod: Clone, copyVolume: {accessModes: [ReadWriteOncePod]}`): "copyVolume.accessModes[0]",
		batchSession(``, `, backupTimeout: 0s`): "the timeout must be at least 1s",
		batchSession(`, executionOrder: Sequential, maxParallel: 2`,
			``): "maxParallel needs executionOrder Parallel: leave it out, Sequential backs up one target at a time",
		`{targets: [{name: t}]}`: oneTarget,
		`{targets: [{name: t, appRef: {kind: PersistentVolumeClaim, name: data}, selector: {kinds: [Deployment]}}]}`: oneTarget,
		`{targets: [{name: t, selector: {kinds: [Pod]}}]}`:                                                           `supported values: "Deployment", "StatefulSet", "DaemonSet", "PersistentVolumeClaim", "Service"`,
		`{targets: [{name: t, selector: {kinds: []}}]}`:                                                              "spec.targets[0].selector.kinds",
		`{targets: [{name: t, selector: {kinds: [Deployment], maxTargets: 501}}]}`:                                   "spec.targets[0].selector.maxTargets",
	},
	"BackupSession": {
		`{invoker: {apiGroup: apps}}`: "the invoker must be a BackupConfiguration or BackupBatch of apiGroup " +
			"backup.cairn.dev",
		`{invoker: {kind: PolicySync}}`: "the invoker must be a BackupConfiguration or BackupBatch of apiGroup " +
			"backup.cairn.dev",
		`{backupTimeout: 10ms}`: "the timeout must be at least 1s",
	},
	"RestoreBatch": {
		`{dataSource: {allowDamaged: true, backupSession: latest}}`: "allowDamaged needs the name of a BackupSession: latest and pitr never take a damaged Snapshot",
		`{targets: [{name: web, target: {kind: Job, name: j, apiGroup: batch}}]}`: "the target of a restore must be " +
			targets,
		`{restoreTimeout: 0s}`:                         "the timeout must be at least 1s",
		`{targets: [{name: web, restoreTimeout: 0s}]}`: "the timeout must be at least 1s",
		`{executionOrder: Sequential, maxParallel: 2}`: "maxParallel needs executionOrder Parallel: leave it out, " +
			"Sequential restores one target at a time",
		`{dataSource: {backupSession: null}}`: "set backupSession (a name or latest) or pitr.targetTime, " +
			"not both",
		`{dataSource: {backupSession: a, mixed: true}}`: "mixed needs backupSession latest or pitr: a named " +
			"BackupSession is one restore point",
		`{targets: [{name: web, confirm: u, ` + newClaims +
			`}]}`: "confirm is for a target that exists: leave it out for new claims",
		`{targets: [{name: web, target: {kind: PersistentVolumeClaim, name: c}, ` + newClaims +
			`}]}`: "name a target to restore into, or targetVolumes.volumeClaimTemplates to make new claims, not both",
		`{targets: [{name: web, components: [pod-0], rules: [{targetHosts: [pod-1]}]}]}`: "rules select the components to restore: leave components out",
		`{targets: [{name: web, addon: {name: pvc-addon, tasks: [{name: volume-snapshot-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: c}, spec: {dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: x}}}]}}]}}]}`: "a RestoreBatch restores Snapshots: leave dataSource of volumeClaimTemplates out",
		`{targets: [{name: web, overwritePolicy: Overwrite}]}`: "overwritePolicy and deleteExtraFiles are for a " +
			"volume that holds data: set confirm to its claim's UID",
		`{targets: [{name: web, confirm: u, overwritePolicy: Never, verify: true}]}`: "verify needs overwritePolicy " +
			"Overwrite or IfNewer: it can't tell a kept file from a wrong one",
	},
	"RestoreSession": {
		`{dataSource: {allowDamaged: true, snapshot: latest}}`: "allowDamaged needs the name of a Snapshot: latest and pitr never take a damaged one",
		`{target: {kind: Job, apiGroup: batch}}`: "the target of a restore must be " +
			targets,
		`{target: {kind: Service, name: db}, confirm: u, overwritePolicy: Never}`: "overwritePolicy, deleteExtraFiles and verify are for volumes: " +
			"the Addon defines how the data of a database is replaced",
		`{dataSource: {repository: null}}`: "snapshot: latest and pitr need a repository",
		`{restoreTimeout: 0s}`:             "the timeout must be at least 1s",
	},
}

// unchanging are the kinds whose spec is immutable, with a change and the expected message.
var unchanging = map[string][2]string{
	"Repository": {
		`{path: /other}`,
		"a Repository's spec never changes, except for deletionPolicy and paused: its data would be left behind. " +
			"Create another Repository",
	},
	"BackupSession":  {`{session: other}`, "a BackupSession's spec never changes: create another BackupSession"},
	"Snapshot":       {`{session: other}`, "a Snapshot's spec never changes, except for deletionPolicy and paused"},
	"RestoreBatch":   {`{restoreTimeout: 1h}`, "a RestoreBatch's spec never changes: create another RestoreBatch"},
	"RestoreSession": {`{restoreTimeout: 1h}`, "a RestoreSession's spec never changes: create another RestoreSession"},
}

// longNames are the kinds whose names become values of labels.
var longNames = map[string]string{
	"BackupSession":  "the name of a BackupSession must have at most 63 characters",
	"RestoreBatch":   "the name of a RestoreBatch must have at most 63 characters",
	"RestoreSession": "the name of a RestoreSession must have at most 63 characters",
}

// apiRules shows for every rule in the CRDs what it refuses.
func apiRules(t *testing.T) {
	g := NewWithT(t)
	const namespace = "rules"
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).
		To(Succeed())
	shown := map[string]bool{}
	for kind, good := range accepted {
		object := func(change string) *unstructured.Unstructured {
			spec, edit := map[string]any{}, map[string]any{}
			g.Expect(yaml.Unmarshal([]byte(good), &spec)).To(Succeed())
			g.Expect(yaml.Unmarshal([]byte(change), &edit)).To(Succeed(), change)
			merge(spec, edit)
			u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
			u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
			if kind != v1alpha1.AddonKind && kind != v1alpha1.FunctionKind {
				u.SetNamespace(namespace)
			}
			u.SetName("a")
			return u
		}
		first := object("{}")
		g.Expect(bed.Client.Create(t.Context(), first)).To(Succeed(), kind)
		for change, says := range refused[kind] {
			shown[says] = true
			u := object(change)
			u.SetName("b")
			if err := bed.Client.Create(t.Context(), u, client.DryRunAll); err == nil ||
				!strings.Contains(err.Error(), says) {
				t.Errorf("%s %s: %v, want it refused with: %s", kind, change, err, says)
			}
		}
		if x, ok := unchanging[kind]; ok {
			shown[x[1]] = true
			u := object(x[0])
			u.SetResourceVersion(first.GetResourceVersion())
			g.Expect(bed.Client.Update(t.Context(), u)).To(MatchError(ContainSubstring(x[1])), kind)
		}
		if says, ok := longNames[kind]; ok {
			shown[says] = true
			u := object("{}")
			u.SetName("a234567890123456789012345678901234567890123456789012345678901234")
			g.Expect(bed.Client.Create(t.Context(), u, client.DryRunAll)).To(MatchError(ContainSubstring(says)), kind)
		}
	}

	files, err := fs.Glob(config.CRDs, "crd/bases/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		text, err := fs.ReadFile(config.CRDs, file)
		g.Expect(err).NotTo(HaveOccurred())
		var crd apiextensionsv1.CustomResourceDefinition
		g.Expect(yaml.Unmarshal(text, &crd)).To(Succeed())
		kind, schema := crd.Spec.Names.Kind, crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		delete(schema.Properties, "status") // What was accepted in a spec is kept there, and only Cairn writes it.
		for message := range messages(schema) {
			if !shown[message] {
				t.Errorf("what the rule of %s refuses is shown here: %s", kind, message)
			}
		}
	}
}

// messages returns the messages of the rules of a schema.
func messages(s *apiextensionsv1.JSONSchemaProps) map[string]bool {
	out := map[string]bool{}
	if s == nil {
		return out
	}
	for _, rule := range s.XValidations {
		out[rule.Message] = true
	}
	for _, p := range s.Properties {
		maps.Copy(out, messages(&p))
	}
	if s.Items != nil {
		maps.Copy(out, messages(s.Items.Schema))
	}
	if s.AdditionalProperties != nil {
		maps.Copy(out, messages(s.AdditionalProperties.Schema))
	}
	return out
}

// merge applies edit to into. null removes a field.
func merge(into, edit map[string]any) {
	for key, value := range edit {
		below, isMap := value.(map[string]any)
		there, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(there, below)
		default:
			into[key] = value
		}
	}
}
