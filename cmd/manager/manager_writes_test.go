package main

import (
	"maps"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// written is something that the manager's account tries to create, or to change and to delete.
type written struct {
	object client.Object
	// denied says why, "" if it is allowed.
	denied string
}

var (
	byHelm     = map[string]string{v1alpha1.LabelManagedBy: "Helm"}
	ofAnOutbox = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: "l"}
	byCairn    = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	ofALease   = []metav1.OwnerReference{{
		APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Name: "keeper", UID: "u",
	}}
)

const (
	notOurSecret = "was not made by Cairn"
	notLikeOurs  = "a Secret of the manager has the label"
	notOurWork   = "is not one of Cairn"
	notOurMap    = "is neither a part of the outbox of a Ledger nor the answer to a scan"
	onlyAccounts = "forbidden"

	overRestricted = "has no privilege that the restricted profile"
)

func metaOf(name string, labels map[string]string, owners ...metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "writes", Name: name, Labels: labels, OwnerReferences: owners}
}

// creations are what a manager that was taken over could create.
func creations() map[string]written {
	leader := &coordinationv1.Lease{ObjectMeta: metaOf("cairn-manager", nil)}
	election := leader.DeepCopy()
	election.Namespace = "cairn-system"
	immutable := func(labels map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metaOf("m", labels), Immutable: new(true)}
	}
	all := map[string]written{
		"a copy of a credential": {&corev1.Secret{ObjectMeta: metaOf("s", byCairn, ofALease...)}, ""},
		"a Secret without the label": {
			&corev1.Secret{ObjectMeta: metaOf("s", nil, ofALease...)}, notLikeOurs,
		},
		"a Secret without an owner": {&corev1.Secret{ObjectMeta: metaOf("s", byCairn)}, notLikeOurs},
		"a Secret that Kubernetes fills with the token of an account": {
			&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "writes", Name: "s", Labels: byCairn, OwnerReferences: ofALease,
					Annotations: map[string]string{corev1.ServiceAccountNameKey: "deployer"},
				},
				Type: corev1.SecretTypeServiceAccountToken,
			}, "has the type Opaque",
		},
		"a ConfigMap":                     {immutable(nil), notOurMap},
		"a ConfigMap of Cairn":            {immutable(byCairn), notOurMap},
		"a part of an outbox":             {immutable(ofAnOutbox), ""},
		"the answer to a scan":            {immutable(map[string]string{v1alpha1.LabelScan: "m"}), notOurMap},
		"a Lease without the label":       {&coordinationv1.Lease{ObjectMeta: metaOf("l", nil)}, notOurWork},
		"the Lease of a keeper":           {&coordinationv1.Lease{ObjectMeta: metaOf("l", byCairn)}, ""},
		"the Lease of a leader elsewhere": {leader, notOurWork},
		"the Lease of its own election":   {election, ""},
	}
	maps.Copy(all, jobs())
	maps.Copy(all, privileges())
	return all
}

// managerWrites tries what the manager is allowed to write, with the shipped ClusterRole and the shipped admission
// policies.
func managerWrites(t *testing.T) {
	g := NewWithT(t)
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "writes"}},
		&corev1.ServiceAccount{ObjectMeta: metaOf("deployer", nil)},
	} {
		g.Expect(bed.Client.Create(t.Context(), o)).To(Succeed())
	}
	manager := as(t, "cairn-system", name, "")
	try := func(t *testing.T, denied string, do func() error) {
		t.Helper()
		g := NewWithT(t)
		if denied == "" {
			g.Eventually(do, testbed.Patience, "100ms").Should(Succeed(), "the rights are in force")
			return
		}
		g.Eventually(do, testbed.Patience, "100ms").Should(MatchError(ContainSubstring(denied)),
			"the policy is in force")
	}
	for what, w := range creations() {
		t.Run("create "+what, func(t *testing.T) {
			try(t, w.denied, func() error {
				err := manager.Create(t.Context(), w.object.DeepCopyObject().(client.Object), client.DryRunAll)
				return client.IgnoreAlreadyExists(err) // such as the Lease of a manager that ran before
			})
		})
	}
	t.Run("each Job that it makes", func(t *testing.T) { eachJobIsAllowed(t, manager) })
	scanned := map[string]string{v1alpha1.LabelScan: "keeper-a"}
	for what, w := range map[string]written{
		"Secret of an application":    {&corev1.Secret{ObjectMeta: metaOf("db", nil)}, notOurSecret},
		"copy of a credential":        {&corev1.Secret{ObjectMeta: metaOf("copy", byCairn, ofALease...)}, ""},
		"ConfigMap of an application": {&corev1.ConfigMap{ObjectMeta: metaOf("app", nil)}, notOurMap},
		"ConfigMap with the label of a scan alone": {
			&corev1.ConfigMap{ObjectMeta: metaOf("page", scanned)}, notOurMap,
		},
		"answer to a scan": {&corev1.ConfigMap{ObjectMeta: metaOf("keeper-a-found-0", scanned)}, ""},
		"part of an outbox": {
			&corev1.ConfigMap{ObjectMeta: metaOf("outbox", ofAnOutbox), Immutable: new(true)}, "",
		},
		"Job of somebody":     {unlabelled("job"), notOurWork},
		"Job of Cairn":        {jobOf("ours", func(*corev1.PodSpec) {}), ""},
		"CronJob of somebody": {cronJob("theirs", nil), notOurWork},
		"CronJob of Cairn":    {cronJob("ours", byCairn), ""},
		"Secret with a token": {
			&corev1.Secret{ObjectMeta: metaOf("plain", nil), Type: "example.com/token"}, notOurSecret,
		},
		"Secret of another tool": {&corev1.Secret{ObjectMeta: metaOf("helm", byHelm)}, notOurSecret},
	} {
		t.Run("delete the "+what, func(t *testing.T) {
			g := NewWithT(t)
			if w.denied == "" && w.object.GetLabels()[v1alpha1.LabelScan] == "" { // nobody else makes it
				g.Expect(manager.Create(t.Context(), w.object)).To(Succeed())
			} else {
				g.Expect(bed.Client.Create(t.Context(), w.object)).To(Succeed())
			}
			try(t, w.denied, func() error { return manager.Delete(t.Context(), w.object, client.DryRunAll) })
		})
	}
	label := client.RawPatch(types.MergePatchType, []byte(
		`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"cairn"}},"data":{"password":"eA=="}}`))
	for _, of := range []string{"db", "plain", "helm"} {
		t.Run("overwrite the Secret "+of, func(t *testing.T) {
			try(t, notOurSecret, func() error {
				return manager.Patch(t.Context(), &corev1.Secret{ObjectMeta: metaOf(of, nil)}, label, client.DryRunAll)
			})
		})
	}
	t.Run("take the owner from a copy", func(t *testing.T) {
		none := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`))
		try(t, notLikeOurs, func() error {
			return manager.Patch(t.Context(), &corev1.Secret{ObjectMeta: metaOf("copy", nil)}, none, client.DryRunAll)
		})
	})
	t.Run("accounts", func(t *testing.T) { managerAccounts(t, manager, try) })
}

func cronJob(name string, labels map[string]string) *batchv1.CronJob {
	c := &batchv1.CronJob{ObjectMeta: metaOf(name, labels)}
	c.Spec.Schedule = "0 0 * * *"
	c.Spec.JobTemplate.Spec.Template.Spec = jobOf("", func(*corev1.PodSpec) {}).Spec.Template.Spec
	return c
}

// managerAccounts tries which accounts the manager is allowed to make, to bind and to act as.
func managerAccounts(t *testing.T, manager client.Client, try func(*testing.T, string, func() error)) {
	for _, ensure := range []func() error{
		func() error { return access.EnsureMover(t.Context(), manager, "writes") },
		func() error { return access.EnsureTrigger(t.Context(), manager, "writes") },
		func() error { return access.EnsureSnapshotter(t.Context(), manager, "writes") },
		func() error { return access.EnsureSidecar(t.Context(), manager, "writes") },
	} {
		try(t, "", ensure)
	}
	mover := types.NamespacedName{Namespace: "writes", Name: v1alpha1.MoverServiceAccount}
	subject := func(namespace, name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}}
	}
	binding := func(name, role string, subjects []rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metaOf(name, byCairn), Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
	}
	for what, do := range map[string]func() error{
		"make another account": func() error {
			return manager.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metaOf("x", byCairn)},
				client.DryRunAll)
		},
		"change another account": func() error {
			return manager.Patch(t.Context(), &corev1.ServiceAccount{ObjectMeta: metaOf("deployer", nil)},
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`)), client.DryRunAll)
		},
		"give a mover an identity in a cloud": func() error {
			return manager.Patch(t.Context(), &corev1.ServiceAccount{ObjectMeta: metaOf(mover.Name, nil)},
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"role":"admin"}}}`)),
				client.DryRunAll)
		},
		"make another binding": func() error {
			return manager.Create(t.Context(), binding("x", "cairn-mover", subject("writes", "deployer")),
				client.DryRunAll)
		},
		"bind a shipped role to an account of its own choice": func() error {
			b := &rbacv1.RoleBinding{}
			if err := bed.Client.Get(t.Context(), mover, b); err != nil {
				return err
			}
			return manager.Patch(t.Context(), b, client.RawPatch(types.MergePatchType, []byte(
				`{"subjects":[{"kind":"ServiceAccount","namespace":"default","name":"default"}]}`)), client.DryRunAll)
		},
	} {
		t.Run(what, func(t *testing.T) { try(t, onlyAccounts, do) })
	}
}
