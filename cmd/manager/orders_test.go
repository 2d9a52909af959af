package main

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// editor returns the client of somebody with the ClusterRole edit in a namespace, as Cairn extends it. Without the
// controller that aggregates roles, its parts are bound one by one.
func editor(t *testing.T, namespace string) client.Client {
	t.Helper()
	g := NewWithT(t)
	const user = "mallory"
	for _, role := range []string{
		"cairn-edit", "cairn-view", "system:aggregate-to-edit", "system:aggregate-to-view",
	} {
		g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "mallory-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		})).To(Succeed())
	}
	return asUser(t, user)
}

// asUser returns the client of somebody who is no ServiceAccount, such as a controller of Kubernetes.
func asUser(t testing.TB, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(bed.Config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: user, Groups: append([]string{"system:authenticated"}, groups...),
	}
	c, err := client.New(config, client.Options{Scheme: bed.Client.Scheme()})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return c
}

// jobController returns the client of the controller of Jobs, which makes their pods.
func jobController(t testing.TB) client.Client {
	t.Helper()
	return asUser(t, "system:serviceaccount:kube-system:job-controller", "system:masters")
}

// work is a RestoreSession as the manager has it while movers and a sidecar work on it.
func work(namespace, name string) *v1alpha1.RestoreSession {
	return &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelSidecar: "cairn-sidecar-deployment-web"},
			Annotations: map[string]string{
				v1alpha1.AnnotationMovers: "data=restore-a", v1alpha1.AnnotationSidecarTask: `{"version":1}`,
				v1alpha1.AnnotationSidecarCredentials: "JTI=a",
			},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"},
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: "s"},
		},
	}
}

// orderRights tries to give orders to movers and sidecars, and to hide objects behind the mark of a record, with the
// ClusterRole edit and the shipped admission policies.
func orderRights(t *testing.T) {
	g := NewWithT(t)
	const namespace = "orders"
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).
		To(Succeed())
	manager, mallory := as(t, "cairn-system", name, ""), editor(t, namespace)
	const order, record = "only the manager of Cairn gives orders", "stays as it is"
	create := func(as client.Client, o *v1alpha1.RestoreSession) func() error {
		return func() error { return as.Create(t.Context(), o.DeepCopy(), client.DryRunAll) }
	}
	denied := func(try func() error, why string) {
		t.Helper()
		g.Eventually(try, testbed.Patience, "100ms").Should(MatchError(ContainSubstring(why)), "the policy is in force")
	}
	whole := work(namespace, "whole")
	denied(create(mallory, whole), order)
	g.Expect(create(manager, whole)()).To(Succeed(), "it is the manager's")
	denied(create(as(t, namespace, name, ""), whole), "cannot create") // an account of that name elsewhere
	g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "namesake"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cairn-edit"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	})).To(Succeed())
	denied(create(as(t, namespace, name, ""), whole), order)
	denied(create(bed.Client, whole), order) // not even an administrator

	plain := work(namespace, "plain")
	plain.Labels, plain.Annotations = map[string]string{"team": "a"}, nil
	g.Expect(create(mallory, plain)()).To(Succeed(), "a restore without orders is everybody's")
	for _, key := range []string{
		v1alpha1.AnnotationMovers, v1alpha1.AnnotationSidecarTask, v1alpha1.AnnotationSidecarCredentials,
	} {
		forged := plain.DeepCopy()
		forged.Annotations = map[string]string{key: "data=backup-a"}
		denied(create(mallory, forged), key)
	}
	forged := plain.DeepCopy()
	forged.Labels[v1alpha1.LabelSidecar] = "cairn-sidecar-deployment-web"
	denied(create(mallory, forged), v1alpha1.LabelSidecar)
	exported := plain.DeepCopy() // an ended one has an empty value
	exported.Annotations = map[string]string{v1alpha1.AnnotationMovers: ""}
	g.Expect(create(mallory, exported)()).To(Succeed())
	past := whole.DeepCopy()
	past.Annotations[v1alpha1.AnnotationRecord] = "c"
	g.Expect(create(mallory, past)()).To(Succeed(), "nobody acts on a record")

	orderChanges(t, manager, mallory, whole)
	t.Run("a record stays one, and a living object does not become one", func(t *testing.T) {
		g := NewWithT(t)
		past.Name = "past"
		living := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "living"}}
		living.Spec.Invoker = v1alpha1.TypedLocalObjectReference{
			APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind, Name: "none",
		}
		living.Spec.Session = "nightly"
		g.Expect(mallory.Create(t.Context(), past)).To(Succeed())
		g.Expect(mallory.Create(t.Context(), living)).To(Succeed())
		patch := func(o client.Object, value string) error {
			return mallory.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json",
				[]byte(`{"metadata":{"annotations":{"backup.cairn.dev/record":`+value+`}}}`)), client.DryRunAll)
		}
		g.Expect(patch(past.DeepCopy(), "null")).To(MatchError(ContainSubstring(record)))
		g.Expect(patch(past.DeepCopy(), `"other"`)).To(MatchError(ContainSubstring(record)))
		g.Expect(patch(living.DeepCopy(), `"c"`)).To(MatchError(ContainSubstring(record)))
		g.Expect(mallory.Delete(t.Context(), past)).To(Succeed())
		g.Expect(mallory.Delete(t.Context(), living)).To(Succeed())
	})
}

// orderChanges tries to change the orders of an object that the manager made.
func orderChanges(t *testing.T, manager, mallory client.Client, whole *v1alpha1.RestoreSession) {
	g := NewWithT(t)
	made := whole.DeepCopy()
	g.Expect(manager.Create(t.Context(), made)).To(Succeed())
	for says, tt := range map[string]struct {
		patch  string
		denied string
	}{
		"another order": {
			`{"annotations":{"backup.cairn.dev/sidecar-task":"{}"}}`, v1alpha1.AnnotationSidecarTask,
		},
		"no order any more": {
			`{"annotations":{"backup.cairn.dev/sidecar-task":null}}`, v1alpha1.AnnotationSidecarTask,
		},
		"another mover": {
			`{"annotations":{"backup.cairn.dev/movers":"data=restore-b"}}`, v1alpha1.AnnotationMovers,
		},
		"another token": {
			`{"annotations":{"backup.cairn.dev/sidecar-credentials":"JTI=b"}}`, v1alpha1.AnnotationSidecarCredentials,
		},
		"another sidecar": {`{"labels":{"backup.cairn.dev/sidecar":"x"}}`, v1alpha1.LabelSidecar},
		"no sidecar":      {`{"labels":{"backup.cairn.dev/sidecar":null}}`, v1alpha1.LabelSidecar},
		"a label of users": {
			`{"labels":{"team":"b"},"annotations":{"example.com/a":"b"}}`, "",
		},
	} {
		t.Run(says, func(t *testing.T) {
			g := NewWithT(t)
			try := func(as client.Client) error {
				return as.Patch(t.Context(), made.DeepCopy(), client.RawPatch("application/merge-patch+json",
					[]byte(`{"metadata":`+tt.patch+`}`)), client.DryRunAll)
			}
			if tt.denied == "" {
				g.Expect(try(mallory)).To(Succeed())
				return
			}
			g.Expect(try(mallory)).To(MatchError(And(ContainSubstring("RestoreSession whole"),
				ContainSubstring(tt.denied))))
			g.Expect(try(manager)).To(Succeed())
		})
	}
	g.Expect(mallory.Delete(t.Context(), made)).To(Succeed(), "an owner deletes what is his")
}

// markRights tries to make what the manager would take for its own: Jobs, their pods, ConfigMaps and Leases.
func markRights(t *testing.T) {
	g := NewWithT(t)
	const namespace = "marks"
	g.Expect(bed.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).
		To(Succeed())
	manager, mallory := as(t, "cairn-system", name, ""), editor(t, namespace)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "keeper-shop-main",
		Labels: map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelKeeper: "keeper-shop-main",
		},
		Annotations: map[string]string{v1alpha1.AnnotationHalfRestored: "r//u"},
	}}
	g.Eventually(func() error { return manager.Create(t.Context(), lease) }, testbed.Patience, "100ms").
		Should(Succeed(), "the manager makes it")
	read := &coordinationv1.Lease{}
	g.Eventually(func() error { return mallory.Get(t.Context(), client.ObjectKeyFromObject(lease), read) },
		testbed.Patience, "100ms").Should(Succeed(), "everybody with the role edit reads its UID")
	keeper := forgedKeeper(read)

	for says, tt := range map[string]struct {
		object client.Object
		denied string
	}{
		"a keeper's Job":      {keeper, "Job keeper-shop-main: only Cairn makes a Job with the label"},
		"a pod of such a Job": {forgedPod(namespace), "Pod backup-a-x7k2p: only Cairn makes a Pod with the label"},
		"a parcel of an audit": {
			forgedParcel(namespace), "ConfigMap audit-1: only Cairn makes a ConfigMap with the label",
		},
		"a database's Lease": {
			&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: "cairn-restore-u", Labels: lease.Labels,
			}}, "Lease cairn-restore-u: only Cairn makes a Lease with the label",
		},
	} {
		t.Run(says, func(t *testing.T) {
			g := NewWithT(t)
			try := func() error {
				return mallory.Create(t.Context(), tt.object.DeepCopyObject().(client.Object), client.DryRunAll)
			}
			g.Eventually(try, testbed.Patience, "100ms").Should(MatchError(ContainSubstring(tt.denied)),
				"the policy is in force")
			again := tt.object.DeepCopyObject().(client.Object)
			if _, isPod := again.(*corev1.Pod); !isPod {
				g.Expect(manager.Create(t.Context(), again, client.DryRunAll)).To(Or(Succeed(),
					MatchError(ContainSubstring("already exists"))), "the manager makes it")
			}
		})
	}
	t.Run("what Kubernetes and users do besides", func(t *testing.T) { markedByOthers(t, mallory, keeper, lease) })
}

// markedByOthers tries what others than the manager are allowed to do with marked objects, and what not.
func markedByOthers(t *testing.T, mallory client.Client, keeper *batchv1.Job, lease *coordinationv1.Lease) {
	g := NewWithT(t)
	namespace := keeper.Namespace
	trigger := keeper.DeepCopy()
	trigger.Name = "trigger"
	trigger.OwnerReferences[0].APIVersion, trigger.OwnerReferences[0].Kind = "batch/v1", "CronJob"
	for _, version := range []string{"batch/v1", "batch/v0"} {
		forged := trigger.DeepCopy()
		forged.OwnerReferences[0].APIVersion = version
		g.Expect(mallory.Create(t.Context(), forged, client.DryRunAll)).To(MatchError(
			ContainSubstring("only Cairn makes a Job")), "with the label of a keeper and the UID of its Lease")
	}
	trigger.Labels = map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelInvokerName: "web", v1alpha1.LabelSession: "s",
	}
	g.Expect(mallory.Create(t.Context(), trigger)).To(Succeed(), "kubectl create job --from=cronjob/...")
	change := func(as client.Client, o client.Object, patch string) error {
		return as.Patch(t.Context(), o.DeepCopyObject().(client.Object),
			client.RawPatch("application/merge-patch+json", []byte(patch)), client.DryRunAll)
	}
	owned := func(kind, version, uid string) string {
		return `{"metadata":{"ownerReferences":[{"apiVersion":"` + version + `","kind":"` + kind + `","name":"` +
			lease.Name + `","uid":"` + uid + `","controller":true}]}}`
	}
	g.Expect(change(mallory, trigger, owned("Lease", "coordination.k8s.io/v1", string(lease.UID)))).
		To(MatchError(ContainSubstring("only the manager of Cairn names an owner of it")))
	g.Expect(change(mallory, trigger, `{"metadata":{"labels":{"backup.cairn.dev/keeper":"x"}}}`)).
		To(MatchError(ContainSubstring("leave backup.cairn.dev/keeper as they are")))
	const orphan = `{"metadata":{"ownerReferences":null}}`
	g.Expect(change(mallory, trigger, orphan)).To(Succeed(), "a Job without an owner says nothing")
	g.Expect(change(mallory, trigger, `{"spec":{"suspend":false}}`)).To(Succeed(), "such as Kueue")
	g.Expect(change(mallory, trigger, `{"metadata":{"labels":{"team":"a"}}}`)).To(Succeed())
	g.Expect(change(mallory, trigger,
		`{"spec":{"template":{"metadata":{"annotations":{"backup.cairn.dev/task":"{}"}}}}}`)).
		To(MatchError(ContainSubstring("leave backup.cairn.dev/task as they are")))

	plain := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "plain"}, Spec: keeper.Spec}
	g.Expect(mallory.Create(t.Context(), plain)).To(Succeed(), "a Job without the label is nobody's business")
	g.Expect(change(mallory, plain, `{"metadata":{"labels":{"app.kubernetes.io/managed-by":"cairn"}}}`)).
		To(MatchError(ContainSubstring("leave app.kubernetes.io/managed-by as they are")))

	pod := forgedPod(namespace)
	g.Expect(jobController(t).Create(t.Context(), pod)).To(Succeed(), "the controller of Jobs makes their pods")
	g.Expect(change(mallory, pod, `{"metadata":{"annotations":{"backup.cairn.dev/task":"{}"}}}`)).
		To(MatchError(ContainSubstring("leave backup.cairn.dev/task as they are")))
	page := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: keeper.Name + "-found-0", Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelScan: keeper.Name,
			},
		},
		Immutable: new(true), BinaryData: map[string][]byte{"found.json.gz": []byte("x")},
	}
	g.Expect(access.EnsureMover(t.Context(), bed.Client, namespace)).To(Succeed())
	mover := as(t, namespace, v1alpha1.MoverServiceAccount, keeper.Name+"-x7k2p")
	g.Eventually(func() error { return mover.Create(t.Context(), page.DeepCopy(), client.DryRunAll) },
		testbed.Patience, "100ms").Should(Succeed(), "a keeper answers a scan")
	g.Expect(mallory.Create(t.Context(), page.DeepCopy(), client.DryRunAll)).
		To(MatchError(ContainSubstring("only Cairn makes a ConfigMap")))
	collector := asUser(t, "system:serviceaccount:kube-system:generic-garbage-collector", "system:masters")
	g.Expect(change(collector, pod, orphan)).To(Succeed())

	g.Expect(change(mallory, lease, `{"metadata":{"annotations":{"backup.cairn.dev/half-restored":null}}}`)).
		To(Succeed(), "the guide tells users to remove it")
	g.Expect(change(mallory, lease, `{"metadata":{"annotations":{"backup.cairn.dev/restored":"d/r"}}}`)).
		To(MatchError(ContainSubstring("leave backup.cairn.dev/restored as they are")))
	g.Expect(change(mallory, lease, `{"spec":{"holderIdentity":"x"}}`)).To(Succeed())
	for _, o := range []client.Object{trigger, plain, pod, lease} {
		g.Expect(mallory.Delete(t.Context(), o, client.GracePeriodSeconds(0),
			client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	}
}

// forgedKeeper returns a Job that looks like that of the keeper with this Lease.
func forgedKeeper(lease *coordinationv1.Lease) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: lease.Namespace, Name: lease.Name, Labels: lease.Labels,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(lease, coordinationv1.SchemeGroupVersion.WithKind("Lease")),
			},
		},
		Spec: batchv1.JobSpec{Suspend: new(true), Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationTask: `{"version":1}`}},
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: v1alpha1.MoverServiceAccount,
				Containers: []corev1.Container{{Name: "mover", Image: "mine"}},
			},
		}},
	}
}

// forgedPod returns a pod that looks like that of a mover's Job, whose result the manager would read.
func forgedPod(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "backup-a-x7k2p",
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, batchv1.JobNameLabel: "backup-a",
			},
			Annotations: map[string]string{v1alpha1.AnnotationTask: `{"version":1}`},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "batch/v1", Kind: "Job", Name: "backup-a", UID: "u", Controller: new(true)},
			},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "mover", Image: "mine"}}},
	}
}

// forgedParcel returns a ConfigMap that looks like a part of a Ledger's outbox.
func forgedParcel(namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "audit-1",
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelLedger: "audit",
			},
			Annotations: map[string]string{v1alpha1.AnnotationOutboxRecords: "1"},
		},
		Immutable: new(true), BinaryData: map[string][]byte{"records": []byte("forged")},
	}
}
