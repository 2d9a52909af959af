package backupconfiguration

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func TestAnAddonOfAUserIsCheckedAndWatched(t *testing.T) {
	t.Parallel()
	namespace := bed.Namespace(t, nil)
	function := &v1alpha1.Function{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec:       v1alpha1.FunctionSpec{Image: "app:v1", Args: []string{"${pasword}"}},
	}
	addon := &v1alpha1.Addon{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
			Name: "logical-backup", Steps: []v1alpha1.TaskStep{{Name: namespace}, {Name: "pvc-backup"}},
		}}},
	}
	configuration := configurationOf(namespace)
	configuration.Spec.Sessions[0].Addon = &v1alpha1.AddonInfo{
		Name:  namespace,
		Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
	}
	bed.ReadyStorage(t, namespace)
	bed.ReadyRepositories(t, namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), addon, configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonFunctionNotFound,
		`the Function "`+namespace+`"`)

	bed.Create(t, function)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidParameters,
		"${pasword} is neither a built-in variable")
	bed.Edit(t, function, func() { function.Spec.Args = []string{"${snapshot}"} })
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")

	bed.Edit(t, configuration, func() {
		second := configuration.Spec.Sessions[0].Repositories[0]
		second.Name, second.Directory = "second", "/second"
		configuration.Spec.Sessions[0].Repositories = append(configuration.Spec.Sessions[0].Repositories, second)
	})
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidParameters,
		"${snapshot} has no value here")
}

// refusedConfiguration is a manifest. Each test replaces REPLACED with its own fragment.
const refusedConfiguration = `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: refused, namespace: default}
spec:
  target: {kind: PersistentVolumeClaim, name: uploads}
  backends: [{name: main, storageRef: {name: s3}}]
  sessions:
  - name: hourly
    addon: {name: pvc-addon, tasks: [{name: logical-backup}], REPLACED}
    repositories: [{name: uploads, backend: main, directory: /uploads, encryptionSecret: {name: enc}}]
`

const refusedAddon = `
apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: refused}
spec:
  backupTasks: [{name: t, REPLACED}]
`

const refusedFunction = `
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: refused}
spec: {image: app:v1, REPLACED}
`

func TestWhatTheAPIServerRefusesWithASentence(t *testing.T) {
	t.Parallel()
	template := func(spec string) string { return "jobTemplate: {spec: {" + spec + "}}" }
	settings := func(s string) string { return "containerRuntimeSettings: {" + s + "}" }
	for name, test := range map[string]struct{ manifest, by, says string }{
		"hostNetwork": {
			refusedConfiguration, template("hostNetwork: true"),
			"hostNetwork can't be set: a mover has no access to the node's network",
		},
		"hostPID": {refusedConfiguration, template("hostPID: true"), "hostPID can't be set"},
		"hostIPC": {refusedConfiguration, template("hostIPC: true"), "hostIPC can't be set"},
		"shareProcessNamespace": {
			refusedConfiguration, template("shareProcessNamespace: true"),
			"a step could read the credentials of the mover",
		},
		"args": {
			refusedConfiguration, template("args: [x]"),
			"set params of the task, or write a Function",
		},
		"priority": {refusedConfiguration, template("priority: 1"), "priority needs priorityClassName"},
		"initContainers": {
			refusedConfiguration, template("initContainers: [{name: x, image: y}]"),
			"name them as steps of an Addon's task",
		},
		"livenessProbe": {
			refusedConfiguration, template("livenessProbe: {exec: {command: [x]}}"),
			"livenessProbe can't be set",
		},
		"readinessProbe": {refusedConfiguration, template("readinessProbe: {}"), "nothing calls a mover"},
		"lifecycle": {
			refusedConfiguration, template("lifecycle: {}"),
			"use a step of the task, or a hook of the session",
		},
		"podPlacementPolicy": {
			refusedConfiguration, template("podPlacementPolicy: {name: default}"),
			"set affinity, nodeSelector or topologySpreadConstraints",
		},
		"windowsOptions": {
			refusedConfiguration, template("containerSecurityContext: {windowsOptions: {}}"),
			"movers are Linux containers",
		},
		"two sources of one volume": {
			refusedConfiguration,
			template("volumes: [{name: x, emptyDir: {}, secret: {secretName: some}}]"),
			"set exactly one of persistentVolumeClaim",
		},
		"a label of Cairn's": {
			refusedConfiguration, `jobTemplate: {metadata: {labels: {backup.cairn.dev/snapshot: x}}}`,
			"labels of backup.cairn.dev, of Jobs and app.kubernetes.io/managed-by are reserved for Cairn",
		},
		"an annotation of Cairn's": {
			refusedConfiguration,
			`jobTemplate: {metadata: {annotations: {backup.cairn.dev/task: x}}}`,
			"annotations of backup.cairn.dev are reserved for Cairn",
		},
		"a probe of the container": {
			refusedConfiguration, settings("readinessProbe: {}"), "readinessProbe can't be set",
		},
		"nice": {
			refusedConfiguration, settings("nice: {adjustment: 5}"),
			"nice can't be set: set resources",
		},
		"ionice": {
			refusedConfiguration, settings("ionice: {class: 2}"),
			"ionice can't be set: set resources",
		},
		"a Function and steps": {
			refusedAddon, "function: f, steps: [{name: f}]",
			"a task has either a function or steps",
		},

		"nothing to do": {refusedAddon, "singleton: true", "a task has either a function or steps"},
		"access of the mover": {
			refusedAddon, "steps: [{name: f, targetAccess: None}]",
			"the last step is the mover: leave targetAccess out",
		},
		"a port of the host": {refusedFunction, "ports: [{containerPort: 80, hostPort: 80}]", "hostPort can't be set"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var o unstructured.Unstructured
			g.Expect(yaml.Unmarshal([]byte(strings.Replace(test.manifest, "REPLACED", test.by, 1)), &o.Object)).
				To(Succeed())
			err := bed.Client.Create(t.Context(), &o, client.DryRunAll,
				client.FieldValidation(metav1.FieldValidationStrict))
			g.Expect(err).To(MatchError(ContainSubstring(test.says)))
		})
	}
	for name, by := range map[string]string{
		"all of a jobTemplate": `jobTemplate: {metadata: {labels: {a: b}, annotations: {c: d}}, controller: {labels: {a: b}}, spec: {hostNetwork: false, resources: {}, env: [{name: A, value: b}],
			affinity: {nodeAffinity: {}}, dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1]}, volumes: [{name: x, emptyDir: {}}], volumeMounts: [{name: x, mountPath: /x}]}}`,
		"what a client writes for an empty template": `jobTemplate: {controller: {}, metadata: {}, spec: {resources: {}}}`,
		"settings of the container": settings("resources: {limits: {memory: 1Gi}}, env: [{name: A, " +
			"valueFrom: {fieldRef: {fieldPath: metadata.name}}}], envFrom: [{secretRef: {name: x}}]"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var o unstructured.Unstructured
			g.Expect(yaml.Unmarshal([]byte(strings.Replace(refusedConfiguration, "REPLACED", by, 1)), &o.Object)).
				To(Succeed())
			g.Expect(bed.Client.Create(t.Context(), &o, client.DryRunAll,
				client.FieldValidation(metav1.FieldValidationStrict))).
				To(Succeed())
		})
	}
}
