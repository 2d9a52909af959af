package e2e

import (
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// hookStep is a step of a hookApp.
type hookStep struct {
	name string
	run  func(*hookApp, *testing.T)
}

// hookSteps are the steps of TestHooks. Those of a group share an application and follow each other.
var hookSteps = map[string][]hookStep{
	"commands": {
		{"a command needs a RoleBinding", (*hookApp).needsRoleBinding}, // which the other commands use
		{"a command in one pod and in all", (*hookApp).inOneAndAll},
		{"a command in the pods of a workload", (*hookApp).ofWorkload},
		{"arguments arrive as they are", (*hookApp).literalArguments},
		{"timeout", (*hookApp).timesOut},
		{"retries", (*hookApp).retries},
	},
	"requests": {
		{"a POST with variables and templates", (*hookApp).posts},
		{"a GET and a connection", (*hookApp).connects},
		{"a HookTemplate of another namespace", (*hookApp).otherNamespace},
		{"hooks around a restore", (*hookApp).aroundRestore}, // of a backup of the steps before
		{"a failing preRestore hook stops the restore", (*hookApp).failingPreRestore},
		{"a Function", (*hookApp).runsFunction}, // it adds a file to the volume
	},
	"outcomes": {
		{"execution policies", (*hookApp).executionPolicies},
		{"a failing preBackup hook stops the backup", (*hookApp).failingPreBackup},
		{"a failing postBackup hook keeps the backup", (*hookApp).failingPostBackup},
		{"freeze and thaw of a cancelled backup", (*hookApp).thawedAfterCancel},
		{"freeze and thaw of a pod that is no longer ready", (*hookApp).thawedWhileUnready},
	},
}

// TestHooks runs hooks in every way that HookTemplates know, each group against an application of two pods and a
// listener.
func TestHooks(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	for group, steps := range hookSteps {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			a := deployHookApp(t, bed, "hooks-"+group)
			if group != "commands" {
				a.permitHooks(t)
			}
			for i, step := range steps {
				if !t.Run(step.name, func(t *testing.T) { step.run(a, t) }) && i == 0 && group == "commands" {
					return
				}
			}
		})
	}
}

// killedManagerBetweenHooks kills the manager between the hook that freezes an application and the one that thaws it.
func killedManagerBetweenHooks(t *testing.T, bed *testbed.Testbed) {
	a := deployHookApp(t, bed, "hooks-killed")
	a.permitHooks(t)
	t.Run("freeze and thaw", a.thawedAfterKill)
	t.Run("freeze and thaw of a failing backup", a.thawedAfterKillAndFailure)
}

// permitHooks lets hooks run commands in the application's pods.
func (a *hookApp) permitHooks(t *testing.T) {
	t.Helper()
	_, err := kubectl(t, a.bed, "", "create", "rolebinding", "cairn-hook", "-n", a.namespace,
		"--clusterrole=cairn-hook-exec",
		"--serviceaccount="+a.namespace+":cairn-hook")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// toDo is the command that the message of ReasonHookNotPermitted gives.
var toDo = regexp.MustCompile(`\(kubectl (.*)\)`)

func (a *hookApp) needsRoleBinding(t *testing.T) {
	g := NewWithT(t)
	ended := a.run(t, pre(what("first", "note")))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(ended.Status.Reason).To(Equal(v1alpha1.ReasonFailedToExecutePreBackupHooks))
	hook := ended.Status.Hooks.PreHooks[0]
	g.Expect(hook.Reason).To(Equal(v1alpha1.ReasonHookNotPermitted))
	g.Expect(hook.Message).To(ContainSubstring("create a RoleBinding there from it to ClusterRole cairn-hook-exec"))
	g.Expect(ended.Status.Targets[0].Message).To(ContainSubstring(hook.Message), "it is said where people look")
	a.nothingBackedUp(t, ended.Name)
	for _, pod := range a.pods {
		g.Expect(a.events(t, pod)).To(BeEmpty())
	}

	command := toDo.FindStringSubmatch(hook.Message)
	g.Expect(command).NotTo(BeNil(), "the message gives the command that mends it: %s", hook.Message)
	_, err := kubectl(t, a.bed, "", strings.Fields(command[1])...)
	g.Expect(err).NotTo(HaveOccurred())
	ended = a.run(t, pre(what("second", "note")))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Expect(a.events(t, a.pods[0])).To(Equal([]string{"second"}))
	g.Expect(a.events(t, a.pods[1])).To(BeEmpty())
}

func (a *hookApp) inOneAndAll(t *testing.T) {
	g := NewWithT(t)
	ended := a.run(t, "{preBackup: ["+what("one", "note")+", "+what("all", "note-all")+"], postBackup: ["+
		what("after", "note-all")+"]}")
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	g.Expect(a.events(t, a.pods[0])).To(Equal([]string{"one", "all", "after"}), "in order")
	g.Expect(a.events(t, a.pods[1])).To(Equal([]string{"all", "after"}))
}

func (a *hookApp) ofWorkload(t *testing.T) {
	g := NewWithT(t)
	hooks := "\n    hooks: " + pre(what("deployed", "note-all"))
	manifest := strings.NewReplacer("{kind: PersistentVolumeClaim, name: data}",
		"{apiGroup: apps, kind: Deployment, name: app}",
		wholeVolume, "addon: {name: workload-addon, tasks: [{name: logical-backup}]}"+hooks).
		Replace(configurationManifest("workload"))
	applyTo(t, a.bed, a.namespace, manifest)
	waitReady(t, a.bed, a.configuration("workload"), metav1.ConditionTrue, "")
	ended := a.ended(t, a.start(t, "workload"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	for _, pod := range a.pods {
		g.Expect(a.events(t, pod)).To(Equal([]string{"deployed"}))
	}
}

// odd is an argument that a shell would change.
const odd = `$(echo pwned) "two words" 'it''s' ; rm -rf * \n $HOME`

func (a *hookApp) literalArguments(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: HookTemplate
metadata: {name: literal}
spec:
  params: [{name: text, required: true}]
  action: {exec: {command: [mkdir, "-p", "/state/literal/${text}", "/state/literal/$(HOME) $${text}", "/state/literal/{{ .Target.Name }}'s"]}}
  executor: {type: Pod}
`)
	ended := a.run(t, pre(use("literal", "literal", `, params: {text: `+yamlString(odd)+`}`)))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	made := strings.Split(strings.TrimSpace(a.atExec(t, a.pods[0], "/bin/ls", "-1", "/state/literal")), "\n")
	g.Expect(made).To(ConsistOf(odd, "$(HOME) ${text}", "data's"))
}

// yamlString quotes a text.
func yamlString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (a *hookApp) otherNamespace(t *testing.T) {
	const other = "hooks-shared"
	g := NewWithT(t)
	scratchNamespace(t, a.bed, other)
	applyTo(t, a.bed, other, hookTemplates)
	borrowed := post("{name: told, hookTemplate: {name: tell, namespace: " + other + "}, params: {what: borrowed}}")
	session := wholeVolume + "\n    hooks: " + borrowed
	applyTo(t, a.bed, a.namespace, strings.Replace(configurationManifest("borrowed"), wholeVolume, session, 1))
	configuration := a.configuration("borrowed")
	refusal := "the usagePolicy of HookTemplate hooks-shared/tell does not allow the namespace " + a.namespace
	waitFault(t, a.bed, configuration, patience, v1alpha1.ReasonHookTemplateNotAllowed, refusal)
	ended := a.ended(t, a.start(t, "borrowed"))
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", v1alpha1.ReasonHookTemplateNotAllowed}))
	g.Expect(readyOf(ended)).To(ContainSubstring(refusal))
	a.nothingBackedUp(t, ended.Name)

	_, err := kubectl(t, a.bed, "", "patch", "hooktemplate/tell", "-n", other, "--type=merge", "-p",
		`{"spec":{"usagePolicy":{"allowedNamespaces":{"from":"Selector","selector":{"matchLabels":{"kubernetes.io/metadata.name":"`+a.namespace+`"}}}}}}`)
	g.Expect(err).NotTo(HaveOccurred())
	waitReady(t, a.bed, configuration, metav1.ConditionTrue, "")
	ended = a.ended(t, a.start(t, "borrowed"))
	g.Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	a.hears(t, ended.Name, "borrowed data Succeeded")
}

// readyOf is the message of an object's condition Ready.
func readyOf(object conditioned) string {
	for _, c := range object.GetConditions() {
		if c.Type == "Ready" {
			return c.Message
		}
	}
	return ""
}
